"""Carry out a plan: all stages of a model, with metrics, checkpoints and the watch for broken numbers."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from narrows.core import Autoencoder, Batch, Part, Stage, all_sum
from narrows.core.check import RequestError, WorkError
from narrows.core.progress import Silent
from narrows.core.values import same_batch
from narrows.data.batches import BatchReader, some_rows
from narrows.kernels.parallel import TensorShard
from narrows.train.checkpoint import Checkpoint
from narrows.train.cpu import Examples
from narrows.train.devices import make_fabric
from narrows.train.held_out import measured
from narrows.train.loop import Step, Training, train
from narrows.train.plan import Plan
from narrows.train.records import Store
from narrows.train.snapshot import best_of, gathered, restore, snapshot
from narrows.train.stopping import FLOOR, Stopper, Weights
from narrows.train.tensor import cut_model, join_model

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["Engine"]

_PREPARE_ROWS = 4096


class Engine:
    """Trains a model through all its stages, and can go on where a checkpoint was made.

    Args:
        model: trained in place.
        plan: how.
        examples: what it is trained on.
        held_out: what the loss is followed on once an epoch and every `measure_every` steps, or None. Where the plan
            has a `patience`, this is what tells when to stop: rows that no result is reported on.
        store: where checkpoints and metrics go, or None to keep nothing on disk.
        progress: who is told.
        fabric: the devices; made from the plan when None.
        observe: told the model, in `eval()`, at each look at held-out data; what it measures is logged with the rest.
        feeds: makes the feed of a stage, with the arguments of `BatchReader`; a sweep shares one among its models.
    """

    def __init__(
        self,
        model: Autoencoder,
        plan: Plan,
        examples: Examples,
        held_out: Examples | None = None,
        store: Store | None = None,
        progress: Silent | None = None,
        fabric: Fabric | None = None,
        observe: Callable[[Autoencoder], Mapping[str, float]] | None = None,
        feeds: Callable[..., BatchReader] = BatchReader,
    ) -> None:
        if len(examples) == 0:
            raise RequestError("There are no examples to train on.")
        self.model, self.examples, self.held_out = model, examples, held_out
        self.plan = (
            plan if plan.batch_size else replace(plan, batch_size=plan.settled(len(examples)).batch_size)
        )
        self.fabric = fabric or make_fabric(plan, len(model.players()) > 1)
        self.store = store if self.fabric.is_global_zero else None
        self.progress = progress if progress is not None and self.fabric.is_global_zero else Silent()
        self.device = self.fabric.device
        self.observe, self.feeds = observe, feeds
        tensor = plan.strategy == "tensor" and self.fabric.world_size > 1
        self.cut = TensorShard(self.fabric.global_rank, self.fabric.world_size) if tensor else None
        self.history: list[dict[str, Any]] = []
        self.seconds = 0.0
        self.made = 0  # steps of the stages that are finished
        self.ends: list[dict[str, Any]] = []  # of those stages: at which step each ended, and why
        self.best: Weights | None = None

    def run(self, resumed: Checkpoint | None = None) -> list[dict[str, Any]]:
        """Train all stages, or what a checkpoint left of them; return the metrics records.

        Raises:
            WorkError: a loss is not finite; the text says at which step, in which term.
        """
        with self.progress, warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", "Grad strides do not match"
            )  # DDP's advice on small convolutions
            with nullcontext() if self.cut is None else same_batch():
                for _ in self.go(resumed):
                    pass
        return self.history

    def go(self, resumed: Checkpoint | None = None) -> Iterator[int]:
        """The same, step by step: yields the number of steps made so far, over all stages."""
        self.model.to(self.device)
        torch.manual_seed(self.plan.seed)
        objective = self.model.objective
        if getattr(objective, "dataset_size", None) == 0:  # it asks, by having the attribute
            objective.dataset_size = len(self.examples)  # type: ignore[assignment]
        first = 0
        if resumed is None:
            self._prepare()  # alike on all ranks, whose noise differs from here on
            torch.manual_seed(self.plan.seed + (self.fabric.global_rank if self.cut is None else 0))
        else:
            first = int(resumed.facts["stage"])
            self.seconds = float(resumed.facts["seconds"])
            self.ends = list(resumed.facts.get("ends", []))
            self.made = int(resumed.facts["at"]) - int(resumed.facts["step"])
        if self.cut is not None:
            cut_model(self.model, self.cut)
        for number, stage in enumerate(self.model.stages()):
            feed = self._feed(stage)
            until = self.plan.steps_of(stage.name, feed.steps_per_epoch)
            if number >= first:
                yield from self._run_stage(number, stage, feed, until, resumed if number == first else None)
                self.made += self.ends[-1]["step"]
        self._finish()

    @torch.no_grad()
    def _finish(self) -> None:
        """Every part's last word, once the state to go on from is kept."""
        if self.cut is not None:
            join_model(self.model, self.cut)
        for part in self.model.modules():
            if isinstance(part, Part):
                part.finish(self.model)
        self.model.eval()

    def _feed(self, stage: Stage) -> BatchReader:
        fabric = self.fabric
        return self.feeds(
            self.examples,
            self._batch_size,
            self.plan.order + (0 if stage.name == "autoencoder" else 1),
            conditions=self.model.conditions,
            device=self.device,
            rank=fabric.global_rank if self.cut is None else 0,
            world=fabric.world_size if self.cut is None else 1,
        )

    @torch.no_grad()
    def _prepare(self) -> None:
        """Initialisation from the data: every part sees the same large batch once."""
        rows = some_rows(self.examples, _PREPARE_ROWS, self.plan.order)
        batch = self.examples.batch(rows, self.model.conditions, self.device)
        self.model.train()
        for part in self.model.modules():
            if isinstance(part, Part):
                part.prepare(self.model, batch.visible())

    def _run_stage(
        self, number: int, stage: Stage, feed: BatchReader, until: int, resumed: Checkpoint | None
    ) -> Iterator[int]:
        plan = self.plan
        distributed = self.cut is None and (self.fabric.world_size > 1 or plan.strategy == "fsdp")
        training = Training(
            stage.part,
            lr=plan.lr,
            optimizer=plan.optimizer,
            weight_decay=plan.weight_decay,
            clip=plan.clip,
            wrap=self.fabric.setup_module if distributed else None,
            autocast=self.fabric.autocast,
            compiled=plan.compile,
        )
        stopper = self._stopper()
        self.best = None
        if resumed is not None:
            if stopper is not None and resumed.facts.get("stopper"):
                stopper = Stopper.from_json(resumed.facts["stopper"])
                self.best = best_of(self.model, resumed, self.cut)
            restore(self.model, training, resumed, self.fabric.global_rank, self.cut)
        else:
            training.part.train()
            if stopper is not None:  # what the data initialised may be hard to better
                self._follow(stopper, training, stage, self._look(stage, 0))
            if number == 0:
                self._save(number, training, stopper)
        self.progress.begin(f"Training the {stage.name}", until, training.step)
        yield from self._steps(number, stage, training, feed, until, stopper)
        self._end(stage, training.step, until, stopper)

    @property
    def _batch_size(self) -> int:
        assert self.plan.batch_size is not None
        return self.plan.batch_size

    def _stopper(self) -> Stopper | None:
        if self.plan.patience is None or self.held_out is None:
            return None
        return Stopper(self.plan.patience, floor=FLOOR if self.plan.open_ended else 0)

    def _follow(self, stopper: Stopper, training: Training, stage: Stage, found: Mapping[str, Any]) -> None:
        """Show a look to the stopper, where losses have settled; rank 0 decides for all."""
        parts = [m for m in stage.part.modules() if isinstance(m, Part)]
        if len(training.players) > 1 or not all(part.settled(training.step) for part in parts):
            return  # a game's loss need not fall, and one that is steered means something else at each step
        means = {name.removeprefix("held_out/"): value for name, value in found.items()}
        objective = stage.part.objective if isinstance(stage.part, Autoencoder) else None
        loss = means["loss"] if objective is None else objective.followed(means, training.step)
        if self.fabric.world_size > 1:
            loss = float(self.fabric.broadcast(loss))
        if stopper.look(training.step, loss):
            self.best = Weights(self.model)

    def _end(self, stage: Stage, step: int, until: int, stopper: Stopper | None) -> None:
        """Go back to the best weights, where losses were compared; note how the stage ended."""
        end: dict[str, Any] = {"stage": stage.name, "step": step, "kept": step, "why": "budget"}
        if stopper is not None:
            end["why"] = "no improvement" if stopper.done else "ceiling" if self.plan.open_ended else "budget"
            if self.best is not None:
                self.best.put_back(self.model)
                end["kept"] = stopper.best_step
        self.best = None
        self.ends.append(end)

    def _steps(
        self,
        number: int,
        stage: Stage,
        training: Training,
        feed: BatchReader,
        until: int,
        stopper: Stopper | None,
    ) -> Iterator[int]:
        view = stage.view
        batches: Callable[[int], Batch] = feed.at if view is None else lambda step: view(feed.at(step))
        window: list[Step] = []
        per_epoch, every, saved = feed.steps_per_epoch, self.plan.measure_every, time.monotonic()
        if stopper is not None:
            per_epoch = every = self.plan.look_every(per_epoch)
        if stopper is not None and stopper.done:
            return
        for step in train(training, batches, until):
            window.append(step)
            yield self.made + step.number
            epoch_ends = step.number % per_epoch == 0 or step.number == until
            looks = epoch_ends or (every > 0 and step.number % every == 0)
            if len(window) < self.plan.log_every and not looks:
                continue
            means = read(window, stage.name, self.fabric)
            record = {"at": self.made + step.number, "stage": stage.name, "step": step.number, **means}
            if looks and self.held_out is not None:
                record.update(self._look(stage, training.step))
                if stopper is not None:
                    self._follow(stopper, training, stage, record)
            self._log(record)
            self.progress.advance(step.number, {"loss": next(iter(means.values()))})
            window = []
            stops = step.number == until or (stopper is not None and stopper.done)
            if self._due(saved) or stops:
                self._save(number, training, stopper, time.monotonic() - saved)
                saved = time.monotonic()
            if stops:
                break

    def _due(self, saved: float) -> bool:
        """Whether a checkpoint is due; rank 0 decides for all."""
        due = time.monotonic() - saved >= self.plan.checkpoint_seconds
        return bool(self.fabric.broadcast(due)) if self.fabric.world_size > 1 else due

    @torch.no_grad()
    def _look(self, stage: Stage, step: int) -> dict[str, Any]:
        """The same losses on data that were not trained on, with what the parts and an observer make of them."""
        assert self.held_out is not None
        found = measured(self.model, stage, self.held_out, self._batch_size, step, self.device)
        if self.observe is not None and stage.part is self.model:
            modes = [(module, module.training) for module in self.model.modules()]
            self.model.eval()
            found.update(self.observe(self.model))
            for module, mode in modes:
                module.training = mode
        return {f"held_out/{name}": value for name, value in found.items()}

    def _log(self, record: dict[str, Any]) -> None:
        self.history.append(record)
        if self.store is not None:
            self.store.log(record)

    def _save(
        self, stage: int, training: Training, stopper: Stopper | None = None, seconds: float = 0.0
    ) -> None:
        self.seconds += seconds
        if self.store is None and self.fabric.world_size == 1:
            return
        tensors, facts = snapshot(self.model, training, self.fabric, self.cut)
        if stopper is not None:
            facts["stopper"] = stopper.to_json()
            if self.best is not None:
                tensors |= self._best_tensors()
        if self.store is not None:
            at = self.made + training.step
            facts |= {"at": at, "stage": stage, "step": training.step, "seconds": self.seconds}
            self.store.save(at, tensors, facts | {"ends": self.ends})

    def _best_tensors(self) -> dict[str, Tensor]:
        """The best weights, gathered where they are held in pieces; the model has them for that moment."""
        assert self.best is not None
        now = Weights(self.model)
        self.best.put_back(self.model)
        best = gathered(self.model, self.fabric, self.cut)
        kept = {f"best/{name}": value.detach().cpu().clone() for name, value in best.items()}
        now.put_back(self.model)
        return kept


def read(window: list[Step], stage: str, fabric: Fabric) -> dict[str, float]:
    """The mean of each term over a window of steps and all processes; only here the device is waited for.

    Raises:
        WorkError: a term is not finite.
    """
    names = list(window[0].terms)
    table = torch.stack([torch.stack([s.terms[n].float() for n in names]) for s in window])
    if (
        fabric.world_size > 1
    ):  # where all see the same batch, the sum is the table itself, and so are the means
        table = all_sum(table) / all_sum(table.new_ones(()))
    table = table.cpu()
    if not bool(torch.isfinite(table).all()):
        row, column = (int(i) for i in (~torch.isfinite(table)).nonzero()[0])
        values = dict(zip(names, table[row].tolist(), strict=True))
        bad = next((n for n, v in values.items() if not _sound(n, v)), names[column])
        raise WorkError(
            f"Training the {stage} stopped at step {window[row].number}: the term `{bad}` is "
            f"{values[bad]}. The last good checkpoint is kept. "
            "Try a lower ``lr``, gradients cut by ``clip``, or ``precision='32'``, and look for extreme "
            "values in the data."
        )
    return dict(zip(names, table.double().mean(0).tolist(), strict=True))


def _sound(name: str, value: float) -> bool:
    """A single term is to blame before the loss that sums them."""
    return math.isfinite(value) or name.endswith("/loss")
