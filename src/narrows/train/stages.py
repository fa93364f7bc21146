"""What a stage is to the trainer: the parts that are its own, the batches as it sees them, its initialisation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from narrows.core import Autoencoder, Batch, Part, Stage, seeded
from narrows.data.batches import BatchReader, some_rows
from narrows.train.cpu import Examples
from narrows.train.plan import Plan

__all__ = ["SeenBatches", "own_parts", "prepare", "total_steps"]

_PREPARE_ROWS = 4096
_KEPT = 1 << 30
"""What a stage sees of the data is kept up to this size (bytes)."""


def own_parts(stage: Stage, stages: Sequence[Stage]) -> list[Part]:
    """The parts whose hooks run in a stage: those of its own part, without what another stage trains inside it."""
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
    """Initialise a stage from the data: each of its parts sees one large batch, as the stage sees it.

    Args:
        model: the whole.
        stage: which begins.
        examples: what it is trained on.
        plan: of the training; its seeds decide which rows those are and what is drawn, alike on all processes.
        device: where batches must be.
    """
    rows = some_rows(examples, _PREPARE_ROWS, plan.order)
    batch = examples.batch(rows, model.conditions, device)
    model.train()
    with seeded(plan.seed):
        batch = batch.visible() if stage.view is None else stage.view(batch)
        for part in own_parts(stage, model.stages()):
            part.set_rows(len(examples))
            part.prepare(model, batch)


def total_steps(model: Autoencoder, plan: Plan, rows: int) -> int:
    """How many steps all stages of a model make at most.

    Args:
        model: as it is built.
        plan: settled, so that it says a batch size.
        rows: how many examples it is trained on.
    """
    total = 0
    for stage in model.stages():
        own = plan.of_stage(stage.name, stage.plan)
        total += own.steps_of(max(1, rows // (own.batch_size or rows)))
    return total


class SeenBatches:
    """The batch of any step as a stage sees it; where its view is fixed, an example passes it once and is kept.

    What is kept is what the view made of an example among as many others as any step has, so that the numbers do not
    depend on what is kept already, and a training that is resumed sees the same.

    Args:
        stage: what is trained.
        reader: the batches of the data.
        examples: how many there are.
    """

    def __init__(self, stage: Stage, reader: BatchReader, examples: int) -> None:
        self.stage, self.reader, self.examples = stage, reader, examples
        self._keeps = stage.deterministic
        self._kept: Batch | None = None
        self._known = torch.zeros(examples, dtype=torch.bool)
        self._complete = False

    def at(self, step: int) -> Batch:
        """The batch of a step, counted from 0 over all epochs."""
        view = self.stage.view
        if view is None:
            return self.reader.at(step)
        if not self._keeps:
            return view(self.reader.at(step))
        rows = self.reader.rows(step)
        if self._kept is not None and (self._complete or bool(self._known[rows.cpu()].all())):
            return self._kept[rows]
        seen = view(self.reader.at(step))
        self._keep(rows, seen)
        return seen

    def _keep(self, rows: Tensor, seen: Batch) -> None:
        """Keep what was seen of some rows, unless it is too large, or of another size for each batch."""
        new = _leaves(seen)
        if self._kept is None and sum(t.nbytes for t in new) * self.examples <= _KEPT * len(rows):
            self._kept = seen.map(lambda t: t.new_empty(self.examples, *t.shape[1:]))
        store = [] if self._kept is None else _leaves(self._kept)
        if [t.shape[1:] for t in store] != [t.shape[1:] for t in new]:
            self._keeps, self._kept = False, None
            return
        for kept, value in zip(store, new, strict=True):
            kept[rows.to(kept.device)] = value
        self._known[rows.cpu()] = True
        self._complete = bool(self._known.all())


def _leaves(batch: Batch) -> list[Tensor]:
    found: list[Tensor] = []

    def add(value: Tensor) -> Tensor:
        found.append(value)
        return value

    batch.map(add)
    return found
