"""Executes a plan: all stages of a model, with metrics, checkpoints and checks for non-finite losses."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from narrows.core import Autoencoder
from narrows.core.check import RequestError, WorkError
from narrows.core.progress import Silent
from narrows.data.batches import BatchReader
from narrows.train.checkpoint import Checkpoint
from narrows.train.cpu import Examples
from narrows.train.devices import make_fabric
from narrows.train.loop import Step, train
from narrows.train.plan import Plan
from narrows.train.records import Store
from narrows.train.stage_run import Setting, StageRun
from narrows.train.stages import least_batch, model_parts, own_parts, prepare
from narrows.train.stopping import split_off
from narrows.train.strategies import Strategy, strategy_of

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["Engine"]


class Engine:
    """Trains a model through its stages, from the start or from a checkpoint.

    Args:
        model: the model, trained in place.
        plan: the training plan.
        examples: the training data.
        held_out: data on which the loss is evaluated once per epoch and every `measure_every` steps, or None.
            If the plan has a `patience`, early stopping uses them, so no result should be reported on them.
        store: where checkpoints and metrics are written, or None to write nothing.
        progress: the progress display.
        fabric: the devices; made from the plan if None.
        observe: called with the model, in `eval()`, at each evaluation; the numbers it returns are logged
            too.
        readers: makes the reader of a stage's batches, with the arguments of `BatchReader`; a sweep shares
            one among its models.
        finished: names of stages that are not trained, because they were trained before; their weights are
            kept.
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
        readers: Callable[..., BatchReader] = BatchReader,
        finished: Collection[str] = (),
    ) -> None:
        if len(examples) == 0:
            raise RequestError("There are no examples to train on.")
        self.model, self.finished = model, frozenset(finished)
        if not plan.batch_size:
            plan = replace(plan, batch_size=plan.settled(len(examples), least_batch(model)).batch_size)
        self.plan = plan
        self.fabric = fabric or make_fabric(plan, len(model.players()) > 1)
        self.strategy = strategy_of(plan, self.fabric)
        wanted = max((part.held_back(len(examples)) for part in model_parts(model)), default=0)
        examples, self.kept = split_off(examples, wanted, plan.order)
        self.setting = Setting(model, plan, examples, held_out, self.strategy, observe, readers)
        self.store = store if self.fabric.is_global_zero else None
        self.progress = progress if progress is not None and self.fabric.is_global_zero else Silent()
        self.history: list[dict[str, Any]] = []
        self.seconds = 0.0
        self.finished_steps = 0  # steps of the stages that are finished
        self.ends: list[dict[str, Any]] = []  # how each of those stages ended, and at which step

    def run(self, resumed: Checkpoint | None = None) -> list[dict[str, Any]]:
        """Train all stages, or those that a checkpoint has left; return the metrics records.

        Raises:
            WorkError: a loss is not finite; the message names the step and the term.
        """
        with self.progress, warnings.catch_warnings():
            # warnings of DDP about small convolutions
            warnings.filterwarnings("ignore", "Grad strides do not match")
            with self.strategy.running():
                for _ in self.iterate(resumed):
                    pass
        return self.history

    def iterate(self, resumed: Checkpoint | None = None) -> Iterator[int]:
        """As `run`, step by step: yields the number of steps so far, over all stages."""
        self.model.to(self.fabric.device)
        torch.manual_seed(self.plan.seed + self.strategy.noise)
        first = 0
        if resumed is not None:
            first = int(resumed.metadata["stage"])
            self.seconds = float(resumed.metadata["seconds"])
            self.ends = list(resumed.metadata.get("ends", []))
            self.finished_steps = int(resumed.metadata["at"]) - int(resumed.metadata["step"])
        if self.kept is not None:
            batch = self.kept.batch(slice(0, len(self.kept)), self.model.all_conditions, self.fabric.device)
            for part in model_parts(self.model):
                part.keep(batch.visible())
        begun = False
        for number, stage in enumerate(self.model.stages()):
            if number < first:
                continue
            if stage.name in self.finished:
                self.ends.append({"stage": stage.name, "step": 0, "kept": 0, "why": "trained before"})
                continue
            if resumed is None:
                prepare(
                    self.setting.model, stage, self.setting.examples, self.setting.plan, self.fabric.device
                )
            if not begun:
                self.strategy.begin(self.model)
                begun = True
            stage_run = StageRun(self.setting, number, stage)
            yield from self._train(stage_run, resumed)
            self.ends.append(stage_run.end())
            self.finished_steps += stage_run.training.step
            resumed = None
        self._finish()

    @torch.no_grad()
    def _finish(self) -> None:
        """Call `finish` of all trained modules, after the last checkpoint."""
        self.strategy.end(self.model)
        stages = self.model.stages()
        for stage in stages:
            if stage.name not in self.finished:
                for part in own_parts(stage, stages):
                    part.finish(self.model)
        self.model.eval()

    def _train(self, stage: StageRun, resumed: Checkpoint | None) -> Iterator[int]:
        self.model.train()
        if resumed is not None:
            stage.restore(resumed)
        elif stage.stopper is not None:  # the initialisation from the data may be the best model
            stage.evaluate()
        if resumed is None and not self.finished_steps:
            self._save(stage)
        if not stage.until:
            return
        self.progress.begin(f"Training the {stage.stage.name}", stage.until, stage.training.step)
        if stage.ended():
            return
        window: list[Step] = []
        saved = time.monotonic()
        for step in train(stage.training, stage.batches.at, stage.until):
            stage.update_average()
            window.append(step)
            yield self.finished_steps + step.number
            evaluates = stage.evaluation_due(step.number)
            if len(window) < stage.plan.log_every and not evaluates:
                continue
            means = mean_terms(window, stage.stage.name, self.strategy)
            window = []
            at = self.finished_steps + step.number
            record = {"at": at, "stage": stage.stage.name, "step": step.number, **means}
            if evaluates:
                record.update(stage.evaluate())
            self._log(record)
            self.progress.advance(step.number, {"loss": next(iter(means.values()))})
            if self._due(saved) or stage.ended():
                self._save(stage, time.monotonic() - saved)
                saved = time.monotonic()
            if stage.ended():
                break

    def _due(self, saved: float) -> bool:
        """Whether a checkpoint is due, by the clock of rank 0."""
        return bool(self.strategy.broadcast(time.monotonic() - saved >= self.plan.checkpoint_seconds))

    def _log(self, record: dict[str, Any]) -> None:
        self.history.append(record)
        if self.store is not None:
            self.store.log(record)

    def _save(self, stage: StageRun, seconds: float = 0.0) -> None:
        self.seconds += seconds
        if self.store is None and self.fabric.world_size == 1:
            return
        tensors, metadata = stage.state()  # called on all processes, each of which holds a part
        if self.store is not None:
            at = self.finished_steps + stage.training.step
            self.store.save(at, tensors, metadata | {"at": at, "seconds": self.seconds, "ends": self.ends})


def mean_terms(window: list[Step], stage: str, strategy: Strategy) -> dict[str, float]:
    """The mean of each term over a window of steps and all processes; synchronises with the device.

    Raises:
        WorkError: a term is not finite.
    """
    names = list(window[0].terms)
    table = torch.stack([torch.stack([s.terms[n].float() for n in names]) for s in window])
    table = strategy.mean(table).cpu()
    if not bool(torch.isfinite(table).all()):
        row, column = (int(i) for i in (~torch.isfinite(table)).nonzero()[0])
        values = dict(zip(names, table[row].tolist(), strict=True))
        bad = next((n for n, v in values.items() if not _valid(n, v)), names[column])
        raise WorkError(
            f"Training the {stage} stopped at step {window[row].number}: the term `{bad}` is "
            f"{values[bad]}. The last good checkpoint is kept. "
            "Try a lower ``lr``, gradient clipping (``clip``), or ``precision='32'``, and look for extreme "
            "values in the data."
        )
    return dict(zip(names, table.double().mean(0).tolist(), strict=True))


def _valid(name: str, value: float) -> bool:
    """Whether a term is finite; the loss is valid too, since a term in its sum is the cause."""
    return math.isfinite(value) or name.endswith("/loss")
