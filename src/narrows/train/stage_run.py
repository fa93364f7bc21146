"""One stage of a training: optimizers, batches, evaluation on held-out data, saved state, early stopping."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from narrows.core import Autoencoder, Stage, evaluation_mode
from narrows.data.batches import BatchReader
from narrows.train.average import Average
from narrows.train.checkpoint import Checkpoint
from narrows.train.cpu import Examples
from narrows.train.held_out import evaluate
from narrows.train.loop import Training
from narrows.train.plan import Plan
from narrows.train.snapshot import restore, snapshot, weights_of
from narrows.train.stages import StageBatches, own_parts
from narrows.train.stopping import FLOOR, Stopper, Weights
from narrows.train.strategies import Strategy

__all__ = ["Setting", "StageRun"]


@dataclass(frozen=True)
class Setting:
    """The settings that all stages of a training share; for the fields see `Engine`."""

    model: Autoencoder
    plan: Plan
    examples: Examples
    held_out: Examples | None
    strategy: Strategy
    observe: Callable[[Autoencoder], Mapping[str, float]] | None
    readers: Callable[..., BatchReader]

    @property
    def device(self) -> torch.device:
        """The device of the model."""
        return self.strategy.fabric.device


class StageRun:
    """A stage in training.

    Args:
        setting: the settings shared with the other stages.
        number: index of the stage.
        stage: the stage.
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
            conditions=model.all_conditions,
            device=setting.device,
            rank=strategy.rank,
            world_size=strategy.world_size,
        )
        self.batches = StageBatches(stage, reader, len(setting.examples))
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
        # Without players there is nothing to train: the part was fitted by `prepare`.
        self.until = plan.steps_of(reader.steps_per_epoch) if self.training.players else 0
        stops_early = bool(self.until) and plan.patience is not None and setting.held_out is not None
        floor = FLOOR if plan.open_ended else 0
        self.stopper = Stopper(plan.patience or 1, floor=floor) if stops_early else None
        self.every = plan.evaluate_every(reader.steps_per_epoch) if stops_early else plan.measure_every
        self.per_epoch = self.every if stops_early else reader.steps_per_epoch
        self.best: Weights | None = None
        trained = [p for player in self.training.players for p in player.parameters]
        self.average = None if plan.ema is None else Average(trained, plan.ema)

    def ended(self) -> bool:
        """Whether the last step was made."""
        return self.training.step >= self.until or (self.stopper is not None and self.stopper.done)

    def evaluation_due(self, step: int) -> bool:
        """Whether to evaluate on held-out data after a step."""
        due = self.every > 0 and step % self.every == 0
        return due or step % self.per_epoch == 0 or step == self.until

    @torch.no_grad()
    def evaluate(self) -> dict[str, Any]:
        """The losses and metrics on held-out data, with those of `observe`.

        Averaged weights are evaluated if there are any. The best weights so far are stored.
        """
        setting, model = self.setting, self.setting.model
        if setting.held_out is None:
            return {}
        with self._averaged():
            step = self.training.step
            found = evaluate(
                model, self.stage, self.parts, setting.held_out, self.batch_size, step, setting.device
            )
            if self.stopper is not None and self._improved(self.stopper, found):
                self.best = Weights(model)
            if setting.observe is not None and self.stage.part is model:
                with evaluation_mode(model):
                    found.update(setting.observe(model))
        return {f"held_out/{name}": value for name, value in found.items()}

    def _improved(self, stopper: Stopper, found: Mapping[str, Any]) -> bool:
        """Update the stopper, if losses are comparable between steps; rank 0 decides for all processes."""
        step = self.training.step
        if len(self.training.players) > 1 or not all(part.settled(step) for part in self.parts):
            return False  # an adversarial loss need not fall, and the loss changes with its weights
        loss = self.stage.part.monitored(found, step)
        return stopper.update(step, float(self.setting.strategy.broadcast(loss)))

    def _averaged(self) -> AbstractContextManager[None]:
        return nullcontext() if self.average is None else self.average.applied()

    def update_average(self) -> None:
        """Update the average of the weights after a step."""
        if self.average is not None:
            self.average.update(self.training.step - 1)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The state for exact resumption: tensors, and metadata for JSON."""
        model, strategy = self.setting.model, self.setting.strategy
        tensors, metadata = snapshot(model, self.training, strategy)
        if self.average is not None:
            tensors |= weights_of(model, strategy, self.average.applied, "average/")
        if self.stopper is not None:
            metadata["stopper"] = self.stopper.to_json()
            if self.best is not None:
                tensors |= weights_of(model, strategy, partial(self.best.applied, model), "best/")
        return tensors, metadata | {"stage": self.number, "step": self.training.step}

    def restore(self, checkpoint: Checkpoint) -> None:
        """Restore the state of a checkpoint."""
        model, strategy = self.setting.model, self.setting.strategy
        if self.stopper is not None and checkpoint.metadata.get("stopper"):
            self.stopper = Stopper.from_json(checkpoint.metadata["stopper"])
            if best := checkpoint.under("best/"):
                strategy.load_state(model, best)
                self.best = Weights(model)
        if self.average is not None:
            strategy.load_state(model, checkpoint.under("average/"))
            self.average.copy_from_parameters()
        restore(model, self.training, checkpoint, strategy)

    def end(self) -> dict[str, Any]:
        """Load the best weights if there are any, else the averaged ones; return how the stage ended."""
        step = self.training.step
        end: dict[str, Any] = {"stage": self.stage.name, "step": step, "kept": step, "why": "budget"}
        if not self.until:
            end["why"] = "fitted"
        if self.stopper is not None and not self.stopper.done and self.plan.open_ended:
            end["why"] = "ceiling"
        if self.stopper is not None and self.stopper.done:
            end["why"] = "no improvement"
        if self.stopper is not None and self.best is not None:
            self.best.copy_to(self.setting.model)
            end["kept"] = self.stopper.best_step
        elif self.average is not None:
            self.average.copy_to_parameters()
        return end
