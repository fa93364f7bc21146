"""The rows on which candidates are judged, in the units of the data, and as vectors of numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal, TypeAlias

import torch
from torch import Tensor

from narrows.audit.metrics.imputation import ColumnMeans
from narrows.core.columns import Columns
from narrows.data import Dataset, Source
from narrows.data.stores import Ragged

if TYPE_CHECKING:
    from narrows.runs.run import Run

__all__ = ["Exam", "Kind", "Space", "cells", "kind_of"]

Kind: TypeAlias = Literal["table", "vector", "image", "series"]
"""The kinds of data that a tournament reads."""


def kind_of(source: Source) -> Kind | None:
    """The kind of some data; None if a tournament does not read them."""
    spec, x = source.spec, source.train.x
    if spec.kind == "table":
        return "table"
    if spec.kind == "series" and isinstance(x, Ragged) and len(x.lengths.unique()) == 1:
        return "series"
    if spec.kind != "array" or spec.target is not None:
        return None
    return {1: "vector", 2: "series", 3: "image"}.get(len(spec.shape))  # type: ignore[return-value]


def cells(data: Dataset) -> Tensor:
    """Examples in the units of the data, (N, *shape) float64; missing cells are NaN."""
    if data.holes and isinstance(data.x, Tensor):
        return data.x.double()
    batch = data.all()
    x = data.scaling.invert(batch.x.double()).double()
    return x if batch.weight is None else torch.where(batch.weight.expand_as(x) > 0, x, torch.nan)


@dataclass(frozen=True, eq=False)
class Exam:
    """Rows that candidates are judged on, and those that they were trained on.

    Args:
        source: the data with their default scaling.
        train: the training rows.
        rows: the rows to judge on.
        seed: of draws and planted anomalies.
        width: dimensions of the codes, where all candidates have the same.
    """

    source: Source
    train: Dataset
    rows: Dataset
    seed: int = 0
    width: int = 0

    @property
    def kind(self) -> Kind:
        """The kind of the data."""
        kind = kind_of(self.source)
        assert kind is not None  # refused before
        return kind

    @cached_property
    def known(self) -> Tensor:
        """The rows in the units of the data, (N, *shape)."""
        return cells(self.rows)

    @cached_property
    def learned(self) -> Tensor:
        """The training rows in the units of the data."""
        return cells(self.train)

    @cached_property
    def space(self) -> Space:
        """The examples as vectors."""
        return Space.of(self)

    def seen_by(self, run: Run) -> Dataset:
        """The rows as a run reads them, with its own scaling."""
        told = {name: self.rows.columns[name] for name in self.rows.always}
        return replace(run.data.test, x=self.rows.x, labels=None, factors=None, columns=told, weight=None)

    def units(self, run: Run, x: Tensor) -> Tensor:
        """Values of a run's model in the units of the data."""
        return run.data.train.scaling.invert(x.double()).double()


@dataclass(frozen=True)
class Space:
    """Examples as vectors: numbers standardised by the training rows, levels one-hot.

    Pixels of images share one mean and one deviation, and so do the steps of each channel of series.

    Args:
        columns: the columns of a table; None for arrays.
        mean: of each element in the units of the data, (D,); 0 for columns of two values and of levels.
        deviation: likewise; 1 for these, and for constant elements.
    """

    columns: Columns | None
    mean: Tensor
    deviation: Tensor

    @classmethod
    def of(cls, exam: Exam) -> Space:
        """The space of the training rows."""
        x = exam.learned.flatten(1)
        columns = Columns.of(exam.source.spec) if exam.kind == "table" else None
        if columns is not None:
            found = ColumnMeans.of(x, ~x.isnan(), columns)
            mean, deviation = torch.zeros_like(x[0]), torch.ones_like(x[0])
            numbers = list(columns.real)
            mean[numbers], deviation[numbers] = (
                found.cells.double()[numbers],
                found.deviation.double()[numbers],
            )
            return cls(columns, mean, deviation)
        together = {"image": x.reshape(-1, 1), "series": x.reshape(-1, exam.learned.shape[-1])}.get(
            exam.kind, x
        )
        mean = together.nanmean(0)
        deviation = (together - mean).square().nanmean(0).sqrt()
        times = x.shape[1] // together.shape[1]
        return cls(None, mean.repeat(times), torch.where(deviation > 0, deviation, 1.0).repeat(times))

    def vectors(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """From examples (N, *shape) to vectors (N, W) and which of their entries are observed; others are 0."""
        x = x.flatten(1)
        there = ~x.isnan()
        scaled = torch.where(there, (x - self.mean) / self.deviation, 0)
        if self.columns is None:
            return scaled, there
        owner = torch.tensor(self.columns.owner)
        return self.columns.expand(scaled, there), there[:, owner]

    def examples(self, vectors: Tensor, shape: tuple[int, ...]) -> Tensor:
        """From vectors (N, W) to examples (N, *shape): the level with the largest entry, the nearer of two values."""
        if self.columns is None:
            return (vectors * self.deviation + self.mean).reshape(len(vectors), *shape)
        parts = vectors.split(self.columns.sizes, -1)
        found = vectors.new_zeros(len(vectors), len(self.columns))
        found[:, list(self.columns.real)] = parts[0]
        found[:, list(self.columns.binary)] = (parts[1] > 0.5).to(vectors.dtype)
        for (column, _), entries in zip(self.columns.categories, parts[2:], strict=True):
            found[:, column] = entries.argmax(-1).to(vectors.dtype)
        return found * self.deviation + self.mean
