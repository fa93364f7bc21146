"""One stage of a training: its optimizers and batches, the looks at held-out data, what it keeps, how it ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from narrows.core import Autoencoder, Stage
from narrows.data.batches import BatchReader
from narrows.train.average import Average
from narrows.train.checkpoint import Checkpoint
from narrows.train.cpu import Examples
from narrows.train.held_out import measured
from narrows.train.loop import Training
from narrows.train.plan import Plan
from narrows.train.snapshot import restore, snapshot, weights_of
from narrows.train.stages import SeenBatches, own_parts
from narrows.train.stopping import FLOOR, Stopper, Weights
from narrows.train.strategies import Strategy

__all__ = ["Setting", "StageRun"]


@dataclass(frozen=True)
class Setting:
    """What all stages of a training share; the fields are explained at `Engine`."""

    model: Autoencoder
    plan: Plan
    examples: Examples
    held_out: Examples | None
    strategy: Strategy
    observe: Callable[[Autoencoder], Mapping[str, float]] | None
    readers: Callable[..., BatchReader]

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.strategy.fabric.device


class StageRun:
    """A stage under way.

    Args:
        setting: what it shares with the other stages.
        number: of the stage.
        stage: what is trained.
    """

    def __init__(self, setting: Setting, number: int, stage: Stage) -> None:
        self.setting, self.number, self.stage = setting, number, stage
        self.plan = plan = setting.plan.of_stage(stage.name, stage.plan)
        model, strategy = setting.model, setting.strategy
        assert plan.batch_size is not None
        self.batch_size = plan.batch_size
        reader = setting.readers(
            setting.examples,
            plan.batch_size,
            plan.order + number,
            conditions=model.conditions,
            device=setting.device,
            rank=strategy.rank,
            world_size=strategy.world_size,
        )
        self.until = plan.steps_of(reader.steps_per_epoch)
        self.batches = SeenBatches(stage, reader, len(setting.examples))
        self.parts = own_parts(stage, model.stages())
        self.training = Training(
            stage.part,
            parts=self.parts,
            lr=plan.lr,
            optimizer=plan.optimizer,
            weight_decay=plan.weight_decay,
            clip=plan.clip,
            wrap=strategy.wrap,
            autocast=strategy.fabric.autocast,
            compiled=plan.compile,
        )
        follows = plan.patience is not None and setting.held_out is not None
        floor = FLOOR if plan.open_ended else 0
        self.stopper = Stopper(plan.patience or 1, floor=floor) if follows else None
        self.every = plan.look_every(reader.steps_per_epoch) if follows else plan.measure_every
        self.per_epoch = self.every if follows else reader.steps_per_epoch
        self.best: Weights | None = None
        trained = [p for player in self.training.players for p in player.parameters]
        self.average = None if plan.ema is None else Average(trained, plan.ema)

    def ended(self) -> bool:
        """Whether the last step is made."""
        return self.training.step >= self.until or (self.stopper is not None and self.stopper.done)

    def looks(self, step: int) -> bool:
        """Whether held-out data are looked at after a step."""
        due = self.every > 0 and step % self.every == 0
        return due or step % self.per_epoch == 0 or step == self.until

    @torch.no_grad()
    def look(self) -> dict[str, Any]:
        """The same losses on data that were not trained on, with what the parts and an observer make of them.

        What is looked at are the averaged weights, where weights are averaged. The best so far are kept.
        """
        setting, model = self.setting, self.setting.model
        if setting.held_out is None:
            return {}
        with self._averaged():
            step = self.training.step
            found = measured(
                model, self.stage, self.parts, setting.held_out, self.batch_size, step, setting.device
            )
            if self.stopper is not None and self._better(self.stopper, found):
                self.best = Weights(model)
            if setting.observe is not None and self.stage.part is model:
                modes = [(module, module.training) for module in model.modules()]
                model.eval()
                found.update(setting.observe(model))
                for module, mode in modes:
                    module.training = mode
        return {f"held_out/{name}": value for name, value in found.items()}

    def _better(self, stopper: Stopper, found: Mapping[str, Any]) -> bool:
        """Show a look to the stopper, where losses have settled; rank 0 decides for all."""
        step = self.training.step
        if len(self.training.players) > 1 or not all(part.settled(step) for part in self.parts):
            return False  # a game's loss need not fall, and one that is steered means something else at each step
        return stopper.look(step, float(self.setting.strategy.agreed(self.stage.part.monitored(found, step))))

    def _averaged(self) -> AbstractContextManager[None]:
        return nullcontext() if self.average is None else self.average.applied()

    def step_made(self) -> None:
        """After a step: the average takes in the weights."""
        if self.average is not None:
            self.average.update(self.training.step - 1)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All that going on exactly needs: tensors, and metadata that JSON can hold."""
        model, strategy = self.setting.model, self.setting.strategy
        tensors, metadata = snapshot(model, self.training, strategy)
        if self.average is not None:
            tensors |= weights_of(model, strategy, self.average.applied, "average/")
        if self.stopper is not None:
            metadata["stopper"] = self.stopper.to_json()
            if self.best is not None:
                tensors |= weights_of(model, strategy, partial(self.best.applied, model), "best/")
        return tensors, metadata | {"stage": self.number, "step": self.training.step}

    def restore(self, kept: Checkpoint) -> None:
        """Put everything back as it was when a checkpoint was made."""
        model, strategy = self.setting.model, self.setting.strategy
        if self.stopper is not None and kept.metadata.get("stopper"):
            self.stopper = Stopper.from_json(kept.metadata["stopper"])
            if best := kept.under("best/"):
                strategy.load_state(model, best)
                self.best = Weights(model)
        if self.average is not None:
            strategy.load_state(model, kept.under("average/"))
            self.average.take()
        restore(model, self.training, kept, strategy)

    def end(self) -> dict[str, Any]:
        """Go to the best weights, where losses were compared, or to the averaged ones; say how the stage ended."""
        step = self.training.step
        end: dict[str, Any] = {"stage": self.stage.name, "step": step, "kept": step, "why": "budget"}
        if self.stopper is not None and not self.stopper.done and self.plan.open_ended:
            end["why"] = "ceiling"
        if self.stopper is not None and self.stopper.done:
            end["why"] = "no improvement"
        if self.stopper is not None and self.best is not None:
            self.best.put_back(self.setting.model)
            end["kept"] = self.stopper.best_step
        elif self.average is not None:
            self.average.put()
        return end
