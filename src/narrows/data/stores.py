"""Stores of rows of unequal length, or of one row shared by all examples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from narrows.core.check import refuse
from narrows.data.mapped import Rows, on_disk, read_rows
from narrows.data.sparse_rows import SparseRows

__all__ = ["Once", "Ragged", "Store", "move", "read_store"]


@dataclass(frozen=True, eq=False)
class Ragged:
    """Rows of unequal length, concatenated in memory; a batch is padded with zeros to its longest row.

    Args:
        values: all elements, (total, ...).
        ends: the end of each row, (N,) int64, ascending.
        least: the smallest length of a batch, to which its rows are padded.

    Raises:
        RequestError: ends that are not ascending from 0 to the number of values.

    Example:
        >>> rows = Ragged(torch.tensor([1, 2, 3, 4, 5]), torch.tensor([2, 5]))
        >>> rows.padded(torch.tensor([0, 1]))
        (tensor([[1, 2, 0],
                [3, 4, 5]]), tensor([[ True,  True, False],
                [ True,  True,  True]]))
    """

    values: Tensor
    ends: Tensor
    least: int = 0

    def __post_init__(self) -> None:
        lengths = torch.diff(self.ends, prepend=self.ends.new_zeros(1))
        last = int(self.ends[-1]) if len(self.ends) else 0
        if bool((lengths < 0).any()) or last != len(self.values):
            raise refuse("ends", self.ends.tolist()[:5], f"ascending numbers from 0 to {len(self.values)}")

    def __len__(self) -> int:
        return len(self.ends)

    @property
    def lengths(self) -> Tensor:
        """The number of elements of each row, (N,)."""
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

    def padded(self, rows: Tensor | slice) -> tuple[Tensor, Tensor]:
        """Some rows as (B, L, ...), and the mask of elements, (B, L) bool; L is at least `least` and 1."""
        if isinstance(rows, slice):
            rows = torch.arange(len(self), device=self.ends.device)[rows]
        rows = rows.to(self.ends.device)
        lengths = self.lengths[rows]
        longest = max(int(lengths.max()) if len(rows) else 0, self.least, 1)
        place = torch.arange(longest, device=self.ends.device)
        there = place < lengths[:, None]
        index = torch.where(there, (self.ends[rows] - lengths)[:, None] + place, 0)
        picked = self.values[index] if len(self.values) else self.values.new_zeros(*index.shape)
        wide = there.reshape(*there.shape, *[1] * (picked.dim() - 2))
        return torch.where(wide, picked, picked.new_zeros(())), there

    def __getitem__(self, rows: Tensor | slice) -> Ragged:
        """Some rows as a store."""
        if isinstance(rows, slice):
            rows = torch.arange(len(self))[rows]
        lengths = self.lengths[rows]
        starts = self.ends[rows] - lengths
        ends = lengths.cumsum(0)
        inside = torch.arange(int(ends[-1]) if len(ends) else 0) - (ends - lengths).repeat_interleave(lengths)
        return Ragged(self.values[starts.repeat_interleave(lengths) + inside], ends, self.least)

    def to(self, device: str | torch.device) -> Ragged:
        """The same rows on a device."""
        return Ragged(self.values.to(device), self.ends.to(device), self.least)


@dataclass(frozen=True, eq=False)
class Once:
    """One row that all examples share, such as a grid or a time axis, expanded in a batch without a copy.

    Args:
        value: the row.
        rows: number of examples that share it.

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
        """Some rows as a store."""
        count = len(range(*rows.indices(self.rows))) if isinstance(rows, slice) else len(rows)
        return Once(self.value, count)

    def to(self, device: str | torch.device) -> Once:
        """The same row on a device."""
        return Once(self.value.to(device), self.rows)


Store: TypeAlias = "Rows | Ragged | Once"
"""A store of rows of any type."""


def read_store(store: Store, rows: Tensor | slice) -> tuple[Tensor, Tensor | None]:
    """Some rows of a store, and for rows of unequal length the mask of elements."""
    if isinstance(store, Ragged):
        return store.padded(rows)
    return (store.read(rows) if isinstance(store, Once) else read_rows(store, rows)), None


def move(store: Store, device: str | torch.device) -> Store:
    """A store on a device; a memory-mapped one stays in its file, and counts in compressed form in memory."""
    if isinstance(store, SparseRows):
        return store
    if isinstance(store, (Tensor, Ragged, Once)):
        return store.to(device)
    assert on_disk(store)
    return store
