"""The encoder of a mixed table with missing cells."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from narrows.core import Batch, Spec
from narrows.core.check import whole
from narrows.core.columns import Columns, columns_of, select_columns
from narrows.nets.observed import MaskEncoder

if TYPE_CHECKING:
    from narrows.core import Autoencoder

__all__ = ["Cycles", "SetEncoder", "TableEncoder"]

_PERIODS = (86400.0, 7 * 86400.0, 365.2425 * 86400.0)
"""A day, a week and a year, in seconds."""


class TableEncoder(MaskEncoder):
    r"""Encodes rows of a mixed table with missing cells: :math:`h = f(\iota(s \odot x),\ s)`.

    The input of the net are the cells, with levels one-hot, and the mask s of observed cells. A missing cell is zero
    ("zero imputation"), which is the mean of a standardised column. Positive numbers and counts are standardised
    after log(1 + x); dates also have their place in the day, the week and the year, where they span several.

    Args:
        spec: the spec of the table.
        net: makes the inner net from the width of its input.
        indicators: use the mask as input; without it a missing value cannot be distinguished from the mean.

    Example:
        >>> encoder = TableEncoder(Spec((3,)), lambda width: nn.Linear(width, 2))
        >>> encoder(torch.ones(5, 3), {}).shape
        torch.Size([5, 2])

    Reference:
        Mattei and Frellsen, MIWAE, 2019. arXiv:1812.02633
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, spec: Spec, net: Callable[[int], nn.Module], indicators: bool = True) -> None:
        super().__init__()
        self.columns, self.indicators = Columns.of(spec), indicators
        columns = list(columns_of(spec).values())
        self.logs = tuple(i for i, c in enumerate(columns) if c.values in ("positive", "counts"))
        if self.logs:
            self.register_buffer("mean", torch.zeros(len(columns)))
            self.register_buffer("deviation", torch.ones(len(columns)))
        self.cycles = Cycles(columns)
        self.width = self.columns.width + self.cycles.width + indicators * len(self.columns)
        self.inputs = self.width
        """The width of the input of the net."""
        self.net = net(self.width)

    @property
    def owner(self) -> tuple[int, ...]:
        """The index of the column of each number that the net reads."""
        masks = range(len(self.columns)) if self.indicators else ()
        return (*self.columns.owner, *self.cycles.places * 2, *masks)

    @torch.no_grad()
    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """Mean and deviation of the logarithms of positive numbers and counts."""
        if not self.logs:
            return
        observed = batch.condition.get("observed", torch.ones_like(batch.x, dtype=torch.bool))
        places = list(self.logs)
        seen, count = observed[:, places], observed[:, places].sum(0).clamp_min(1)
        y = torch.where(seen, batch.x[:, places].clamp_min(0).log1p(), 0)
        mean = y.sum(0) / count
        variance = torch.where(seen, y - mean, 0).square().sum(0) / count
        self.mean[places] = mean
        self.deviation[places] = torch.where(variance > 0, variance.sqrt(), 1.0)

    def forward(self, x: Tensor, condition: Mapping[str, Tensor]) -> Tensor:
        """Cells (B, D), with the mask ``observed`` in the condition if any are missing -> features (B, F)."""
        x, observed = self.seen(x, condition)
        parts = self._cells(x, observed)
        if self.indicators:
            parts.append(torch.ones_like(x) if observed is None else observed.to(x.dtype))
        out: Tensor = self.net(torch.cat(parts, -1))
        return out

    def _cells(self, x: Tensor, observed: Tensor | None) -> list[Tensor]:
        """The expanded cells, and the places of dates in their periods."""
        parts = [self.columns.expand(self._standardised(x), observed)]
        return [*parts, self.cycles(x, observed)] if self.cycles.width else parts

    def _standardised(self, x: Tensor) -> Tensor:
        """The cells, with standardised logarithms of positive numbers and counts."""
        if not self.logs:
            return x
        log = torch.zeros(x.shape[-1], dtype=torch.bool, device=x.device)
        log[list(self.logs)] = True
        return torch.where(log, (x.clamp_min(0).log1p() - self.mean) / self.deviation, x)


class SetEncoder(TableEncoder):
    r"""Encodes rows as the set of their observed cells: :math:`h = f\left(\sum_d s_d\, g(e_d, x_d)\right)`.

    Each column has an embedding e_d, and the net g is that of all columns, so that a missing cell is no input at all. A
    cell is described by its numbers times vectors of the column, of a level by the vector of the level.

    Args:
        spec: the spec of the table.
        net: makes the net f from the width of its input.
        width: width of the embeddings, and of what is summed.

    Raises:
        RequestError: a width below 1.

    Example:
        >>> encoder = SetEncoder(Spec((3,)), lambda width: nn.Linear(width, 2))
        >>> encoder(torch.ones(5, 3), {}).shape
        torch.Size([5, 2])

    Reference:
        Ma et al., EDDI: Efficient Dynamic Discovery of High-Value Information with Partial VAE, 2019. arXiv:1809.11142
    """

    entry: Tensor

    def __init__(self, spec: Spec, net: Callable[[int], nn.Module], width: int = 32) -> None:
        size = whole("width", width)
        super().__init__(spec, lambda _: net(size), indicators=False)
        self.inputs = size
        self.register_buffer("entry", torch.tensor(self.owner), persistent=False)
        self.embedding = nn.Parameter(torch.randn(len(self.columns), size) * size**-0.5)
        self.vectors = nn.Parameter(torch.randn(self.width, size) * size**-0.5)
        self.cell = nn.Sequential(nn.Linear(2 * size, size), nn.SiLU(), nn.Linear(size, size))

    def forward(self, x: Tensor, condition: Mapping[str, Tensor]) -> Tensor:
        """Cells (B, D), with the mask ``observed`` in the condition if any are missing -> features (B, F)."""
        x, observed = self.seen(x, condition)
        cells = torch.cat(self._cells(x, observed), -1).unsqueeze(-1) * self.vectors
        values = cells.new_zeros(*x.shape, cells.shape[-1]).index_add(-2, self.entry, cells)
        each = self.cell(torch.cat([self.embedding.expand_as(values), values], -1))
        if observed is not None:
            each = torch.where(observed.unsqueeze(-1), each, 0)
        out: Tensor = self.net(each.sum(-2))
        return out


class Cycles(nn.Module):
    """Sine and cosine of the time of day, of the week and of the year of dates.

    A column has a period if its dates span two of them, and are finer than half of it.

    Args:
        columns: the specs of the columns.

    Example:
        >>> from narrows.core import Column
        >>> dates = Spec((), "datetime", column=Column("date32[day]", 86400.0, 0.0, 8e7, 4e7, 2e7))
        >>> Cycles([Spec(()), dates]).width  # of the week and the year
        4
    """

    frequency: Tensor
    phase: Tensor

    def __init__(self, columns: Sequence[Spec]) -> None:
        super().__init__()
        found = [
            (index, 2 * math.pi * column.scale / period, 2 * math.pi * (column.shift % period) / period)
            for index, spec in enumerate(columns)
            if spec.values == "datetime" and (column := spec.column) is not None
            for period in _PERIODS
            if column.high - column.low >= 2 * period and column.resolution < period / 2
        ]
        self.places = tuple(index for index, _, _ in found)
        self.width = 2 * len(found)
        self.register_buffer("frequency", torch.tensor([f for _, f, _ in found]), persistent=False)
        self.register_buffer("phase", torch.tensor([p for _, _, p in found]), persistent=False)

    def forward(self, x: Tensor, observed: Tensor | None = None) -> Tensor:
        """Features (..., width) of cells (..., D), 0 for missing ones."""
        angle = select_columns(x, self.places) * self.frequency + self.phase
        waves = torch.cat([angle.sin(), angle.cos()], -1)
        if observed is None:
            return waves
        return torch.where(select_columns(observed, self.places * 2), waves, 0)
