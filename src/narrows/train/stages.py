"""Stages in the trainer: their modules, their batches, and their initialisation from data."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from narrows.core import Autoencoder, Batch, Part, Stage, seeded
from narrows.core.check import nearest, refuse
from narrows.data.batches import BatchReader, some_rows
from narrows.train.cpu import Examples
from narrows.train.plan import FIRST, Plan

__all__ = [
    "StageBatches",
    "check_stages",
    "least_batch",
    "model_parts",
    "own_parts",
    "plan_for",
    "prepare",
    "suited",
    "total_steps",
]

_CHUNK = 4096
"""The number of rows that a view is given at once."""
_CACHE_BYTES = 1 << 30
"""The maximum size of the cached batches of a stage."""


def model_parts(model: Autoencoder) -> list[Part]:
    """The modules of a model that have hooks."""
    return [m for m in model.modules() if isinstance(m, Part)]


def least_batch(model: Autoencoder) -> int:
    """The smallest batch, on one device, that all parts of a model can be trained on."""
    return max(part.least_batch for part in model_parts(model))


def plan_for(model: Autoencoder, rows: int, given: Mapping[str, Any]) -> Plan:
    """The settled plan of a model, checked before anything is trained or written.

    Args:
        model: the untrained model.
        rows: number of training rows.
        given: the user's fields of `Plan`; None is not given.

    Raises:
        RequestError: a field is out of range, batches are too small, or a part needs more rows.
    """
    plan = Plan.of(rows, model.default_plan, given, least_batch(model))
    for part in model_parts(model):
        part.check_rows(rows - plan.calibration_rows(rows) - (plan.validation or 0))
    return plan


def suited(model: Autoencoder, rows: int, given: Mapping[str, Any]) -> dict[str, int]:
    """Smaller sizes of a model for few training rows, by the builder's argument; empty if there are enough.

    Args:
        model: the untrained model.
        rows: number of training rows.
        given: the user's fields of `Plan`; None is not given.

    Raises:
        RequestError: a field is out of range, or batches are too small.
    """
    plan = Plan.of(rows, model.default_plan, given, least_batch(model))
    smaller = dict[str, int]()
    for part in model_parts(model):
        for name, size in part.suited(rows - (plan.validation or 0)).items():
            smaller[name] = min(size, smaller.get(name, size))
    return smaller


def check_stages(model: Autoencoder, plan: Plan, done: Collection[str] = ()) -> None:
    """Raise if the plan has fields for a stage that is not trained.

    Args:
        model: the model.
        plan: the plan.
        done: the stages that are not trained again.

    Raises:
        RequestError: the model has no stage of that name, or it is trained already.
    """
    names = [stage.name for stage in model.stages()]
    first = FIRST[0] if names[0] in FIRST else ""
    for name in plan.stages:
        if name in names:
            continue
        if done and name in (*done, *FIRST):
            fix = "Its autoencoder is trained already: resume that run to train it further."
            raise refuse("steps", name, "`prior`, the only stage that is trained on a finished run", fix)
        listed = ", ".join(f"{one} (also {first})" if one in FIRST and first else one for one in names)
        fix = (
            "A second stage is a prior: ``--prior NAME``."
            if name == "prior"
            else nearest(name, {*names, *FIRST})
        )
        raise refuse("steps", name, f"a stage of this model: {listed}", fix)


def own_parts(stage: Stage, stages: Sequence[Stage]) -> list[Part]:
    """The modules whose hooks run in a stage: those of its part, except those that another stage trains."""
    inner = {
        id(module)
        for other in stages
        if other.part is not stage.part and any(m is other.part for m in stage.part.modules())
        for module in other.part.modules()
    }
    return [m for m in stage.part.modules() if isinstance(m, Part) and id(m) not in inner]


@torch.no_grad()
def prepare(
    model: Autoencoder,
    stage: Stage,
    examples: Examples,
    plan: Plan,
    device: torch.device,
) -> None:
    """Initialise a stage from the data: `prepare` of each of its modules gets one large batch.

    Args:
        model: the model.
        stage: the stage that begins.
        examples: the training data.
        plan: the training plan, whose seeds determine the rows and the random numbers, equal on all
            processes.
        device: the device of the batch.
    """
    rows = some_rows(examples, stage.rows, plan.order)
    model.train()
    with seeded(plan.seed):
        chunks = (examples.batch(chunk, model.all_conditions, device) for chunk in rows.split(_CHUNK))
        batch = _joined([chunk.visible() if stage.view is None else stage.view(chunk) for chunk in chunks])
        for part in own_parts(stage, model.stages()):
            part.set_rows(len(examples))
            part.prepare(model, batch)


def total_steps(model: Autoencoder, plan: Plan, rows: int) -> int:
    """The maximum number of steps of all stages of a model.

    Args:
        model: the model, as constructed.
        plan: a settled plan, with a batch size.
        rows: number of training examples.
    """
    total = 0
    for stage in model.stages():
        if not stage.part.players():
            continue
        own = plan.of_stage(stage.name, stage.plan)
        total += own.steps_of(max(1, rows // (own.batch_size or rows)))
    return total


class StageBatches:
    """The batches of a stage, after its view; if the view is deterministic, its results are cached.

    The cache has the result of each example within a batch of the usual size, so that numbers do not depend
    on the state of the cache, and a resumed training gets the same batches.

    Args:
        stage: the stage.
        reader: the batches of the data.
        examples: number of examples.
    """

    def __init__(self, stage: Stage, reader: BatchReader, examples: int) -> None:
        self.stage, self.reader, self.examples = stage, reader, examples
        self._caches = stage.deterministic
        self._cache: Batch | None = None
        self._known = torch.zeros(examples, dtype=torch.bool)
        self._complete = False

    def at(self, step: int) -> Batch:
        """The batch of a step, counting from 0 over all epochs."""
        view = self.stage.view
        if view is None:
            return self.reader.at(step)
        if not self._caches:
            return view(self.reader.at(step))
        rows = self.reader.rows(step)
        if self._cache is not None and (self._complete or bool(self._known[rows.cpu()].all())):
            return self._cache[rows]
        batch = view(self.reader.at(step))
        self._store(rows, batch)
        return batch

    def _store(self, rows: Tensor, batch: Batch) -> None:
        """Cache a batch, unless the cache would be too large, or shapes differ between batches."""
        new = _leaves(batch)
        if self._cache is None and sum(t.nbytes for t in new) * self.examples <= _CACHE_BYTES * len(rows):
            self._cache = batch.map(lambda t: t.new_empty(self.examples, *t.shape[1:]))
        store = [] if self._cache is None else _leaves(self._cache)
        if [t.shape[1:] for t in store] != [t.shape[1:] for t in new]:
            self._caches, self._cache = False, None
            return
        for cached, value in zip(store, new, strict=True):
            cached[rows.to(cached.device)] = value
        self._known[rows.cpu()] = True
        self._complete = bool(self._known.all())


def _joined(batches: Sequence[Batch]) -> Batch:
    """The examples of several batches as one."""
    if len(batches) == 1:
        return batches[0]
    columns = zip(*(_leaves(batch) for batch in batches), strict=True)
    return batches[0].map(lambda _: torch.cat(next(columns)))


def _leaves(batch: Batch) -> list[Tensor]:
    found: list[Tensor] = []

    def add(value: Tensor) -> Tensor:
        found.append(value)
        return value

    batch.map(add)
    return found
