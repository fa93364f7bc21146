"""Stores of rows: of unequal length, or one row for all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from narrows.core.check import refuse
from narrows.data.mapped import Rows, on_disk, read_rows

__all__ = ["Once", "Ragged", "Store", "move", "read_store"]


@dataclass(frozen=True, eq=False)
class Ragged:
    """Rows of unequal length, one after the other in memory; a batch is padded with zeros to its longest row.

    Args:
        values: all elements, (total, ...).
        ends: where each row ends, (N,) int64, ascending.

    Raises:
        RequestError: ends that do not ascend from 0 to the number of values.

    Example:
        >>> rows = Ragged(torch.tensor([1, 2, 3, 4, 5]), torch.tensor([2, 5]))
        >>> rows.padded(torch.tensor([0, 1]))
        (tensor([[1, 2, 0],
                [3, 4, 5]]), tensor([[ True,  True, False],
                [ True,  True,  True]]))
    """

    values: Tensor
    ends: Tensor

    def __post_init__(self) -> None:
        lengths = torch.diff(self.ends, prepend=self.ends.new_zeros(1))
        last = int(self.ends[-1]) if len(self.ends) else 0
        if bool((lengths < 0).any()) or last != len(self.values):
            raise refuse("ends", self.ends.tolist()[:5], f"numbers that ascend from 0 to {len(self.values)}")

    def __len__(self) -> int:
        return len(self.ends)

    @property
    def lengths(self) -> Tensor:
        """How many elements each row has, (N,)."""
        return torch.diff(self.ends, prepend=self.ends.new_zeros(1))

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, longest, *element)."""
        longest = int(self.lengths.max()) if len(self) else 0
        return (len(self), longest, *self.values.shape[1:])

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return int(self.values.nbytes + self.ends.nbytes)

    def padded(self, rows: Tensor | slice, length: int = 0) -> tuple[Tensor, Tensor]:
        """Some rows as (B, L, ...) and which elements are there, (B, L) bool; L at least `length` and 1."""
        if isinstance(rows, slice):
            rows = torch.arange(len(self), device=self.ends.device)[rows]
        rows = rows.to(self.ends.device)
        lengths = self.lengths[rows]
        longest = max(int(lengths.max()) if len(rows) else 0, length, 1)
        place = torch.arange(longest, device=self.ends.device)
        there = place < lengths[:, None]
        index = torch.where(there, (self.ends[rows] - lengths)[:, None] + place, 0)
        picked = self.values[index] if len(self.values) else self.values.new_zeros(*index.shape)
        wide = there.reshape(*there.shape, *[1] * (picked.dim() - 2))
        return torch.where(wide, picked, picked.new_zeros(())), there

    def __getitem__(self, rows: Tensor | slice) -> Ragged:
        """Some rows as a store of their own."""
        if isinstance(rows, slice):
            rows = torch.arange(len(self))[rows]
        lengths = self.lengths[rows]
        starts = self.ends[rows] - lengths
        ends = lengths.cumsum(0)
        inside = torch.arange(int(ends[-1]) if len(ends) else 0) - (ends - lengths).repeat_interleave(lengths)
        return Ragged(self.values[starts.repeat_interleave(lengths) + inside], ends)

    def to(self, device: str | torch.device) -> Ragged:
        """The same rows in a device's memory."""
        return Ragged(self.values.to(device), self.ends.to(device))


@dataclass(frozen=True, eq=False)
class Once:
    """One row that all examples share: a grid, an axis of time. A batch sees it without a copy.

    Args:
        value: the row.
        rows: how many examples share it.

    Example:
        >>> Once(torch.zeros(3), 5)[torch.tensor([0, 4])].read(slice(None)).shape
        torch.Size([2, 3])
    """

    value: Tensor
    rows: int

    def __len__(self) -> int:
        return self.rows

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, *row)."""
        return (self.rows, *self.value.shape)

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return int(self.value.nbytes)

    def read(self, rows: Tensor | slice) -> Tensor:
        """Some rows, (B, ...), with stride 0."""
        count = len(range(*rows.indices(self.rows))) if isinstance(rows, slice) else len(rows)
        return self.value.expand(count, *self.value.shape)

    def __getitem__(self, rows: Tensor | slice) -> Once:
        """Some rows as a store of their own."""
        count = len(range(*rows.indices(self.rows))) if isinstance(rows, slice) else len(rows)
        return Once(self.value, count)

    def to(self, device: str | torch.device) -> Once:
        """The same row in a device's memory."""
        return Once(self.value.to(device), self.rows)


Store: TypeAlias = "Rows | Ragged | Once"
"""Rows of any kind."""


def read_store(store: Store, rows: Tensor | slice) -> tuple[Tensor, Tensor | None]:
    """Some rows of a store, and of rows of unequal length which elements are there."""
    if isinstance(store, Ragged):
        return store.padded(rows)
    return (store.read(rows) if isinstance(store, Once) else read_rows(store, rows)), None


def move(store: Store, device: str | torch.device) -> Store:
    """A store in a device's memory; one that is mapped from a file stays there."""
    if isinstance(store, (Tensor, Ragged, Once)):
        return store.to(device)
    assert on_disk(store)
    return store
