"""`ActivationRows`: rows of a harvest's shards, read on demand; `Index`: which rows they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from narrows.core.check import WorkError, refuse

__all__ = ["ActivationRows", "Index", "Region"]

_SAMPLED_RUNS = 64


class Region(Protocol):
    """One tensor of one shard: in a file (`tensorfile.Entry`), or computed when it is read."""

    dtype: torch.dtype
    shape: tuple[int, ...]

    def blame(self, row: int) -> str:
        """Which row is not finite, and what to do about it, in two sentences."""

    def shaped(self, shape: tuple[int, ...]) -> Region:
        """The same values with rows of another shape."""

    def read(self, first: int = 0, last: int | None = None) -> Tensor:
        """A copy of some rows, in their own type."""

    def fill_runs(self, out: Tensor, runs: Iterable[tuple[int, int]]) -> None:
        """Copy runs of rows, (first, count) each, one after another into a contiguous tensor of the same type."""


class Index:
    """Rows as runs: a run is `count` consecutive rows of a part (a shard) from its row `first` on.

    A training part without every tenth context has a few runs per shard, whatever the number of rows.

    Args:
        part: the part of each run, (R,).
        first: the row of that part at which each run begins, (R,).
        count: the number of rows of each run, (R,).

    Example:
        >>> index = Index([0, 0, 1], [0, 7, 3], [5, 2, 4])
        >>> len(index), list(index.span(4, 8)), list(index.take(np.array([10, 6, 5])))
        (11, [(0, 4, 1), (0, 7, 2), (1, 3, 1)], [(1, 6, 1), (0, 8, 1), (0, 7, 1)])
    """

    def __init__(
        self,
        part: Sequence[int] | np.ndarray,
        first: Sequence[int] | np.ndarray,
        count: Sequence[int] | np.ndarray,
    ) -> None:
        keep = np.asarray(count, np.int64) > 0
        self.part, self.first, self.count = (np.asarray(a, np.int64)[keep] for a in (part, first, count))
        self.ends = np.cumsum(self.count)

    def __len__(self) -> int:
        return int(self.ends[-1]) if len(self.ends) else 0

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        return zip(self.part.tolist(), self.first.tolist(), self.count.tolist(), strict=True)

    def span(self, start: int, stop: int) -> Index:
        """The rows `start` to `stop` - 1."""
        start, stop = max(0, start), min(stop, len(self))
        if stop <= start:
            return Index([], [], [])
        i = int(np.searchsorted(self.ends, start, side="right"))
        j = int(np.searchsorted(self.ends, stop, side="left")) + 1
        part, first, count = self.part[i:j], self.first[i:j].copy(), self.count[i:j].copy()
        count[-1] -= self.ends[j - 1] - stop
        skip = start - (self.ends[i] - self.count[i])
        first[0] += skip
        count[0] -= skip
        return Index(part, first, count)

    def locate(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The part of each row, and its row number in that part."""
        if len(rows) and not (rows.min() >= 0 and rows.max() < len(self)):
            raise refuse("rows", int(rows.max()), f"row numbers from 0 to {len(self) - 1}")
        of = np.searchsorted(self.ends, rows, side="right")
        return self.part[of], rows - (self.ends - self.count)[of] + self.first[of]

    def take(self, rows: np.ndarray) -> Index:
        """Any rows in any order; consecutive rows are joined to one run."""
        part, row = self.locate(np.asarray(rows, np.int64))
        if not len(row):
            return Index([], [], [])
        new = np.append(True, (part[1:] != part[:-1]) | (row[1:] != row[:-1] + 1))
        at = np.flatnonzero(new)
        return Index(part[at], row[at], np.diff(np.append(at, len(row))))

    def select(self, rows: slice | Tensor | np.ndarray) -> Index:
        """The rows of a slice, of a mask or of row numbers."""
        if isinstance(rows, slice):
            start, stop, step = rows.indices(len(self))
            return self.span(start, stop) if step == 1 else self.take(np.arange(start, stop, step))
        rows = rows.cpu().numpy() if isinstance(rows, Tensor) else rows
        return self.take(np.flatnonzero(rows) if rows.dtype == np.bool_ else rows)


class ActivationRows:
    """Rows of a harvest, (N, ...), read on demand.

    Args:
        index: the rows of the parts.
        layers: for each layer its region of every part, in the order of the index's parts.
        stacked: whether an example has all layers, (L, D); else there is one layer.
        group: how many parts (layers one after another) belong to one shard.
        by_unit: whether a whole shard must be read at a time, because it is computed on the fly.
    """

    def __init__(
        self,
        index: Index,
        layers: Sequence[Sequence[Region]],
        stacked: bool = False,
        group: int = 1,
        by_unit: bool = False,
    ) -> None:
        self.index, self.layers, self.stacked = index, layers, stacked
        self.group, self.by_unit = group, by_unit
        first = layers[0][0]
        floats = first.dtype.is_floating_point
        self.kind = torch.float32 if floats else torch.int64
        self.dtype = np.dtype(np.float32 if floats else np.int64)
        self.shape: tuple[int, ...] = (
            len(index),
            *((len(layers),) if stacked else ()),
            *(int(n) for n in first.shape[1:]),
        )

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def ndim(self) -> int:
        """The number of axes, the rows included."""
        return len(self.shape)

    @property
    def row_bytes(self) -> int:
        """The size of a row in memory, in bytes."""
        return int(np.prod(self.shape[1:], dtype=np.int64)) * self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        """The size of all rows in memory, in bytes."""
        return len(self) * self.row_bytes

    @property
    def blocks(self) -> np.ndarray | None:
        """The number of rows of each shard if a whole shard must be read at a time; else None."""
        if not self.by_unit or not len(self.index.part):
            return None
        unit = self.index.part // self.group
        return np.add.reduceat(self.index.count, np.flatnonzero(np.append(True, unit[1:] != unit[:-1])))

    def __getitem__(self, rows: slice | Tensor | np.ndarray) -> ActivationRows:
        return ActivationRows(self.index.select(rows), self.layers, self.stacked, self.group, self.by_unit)

    def read(self, rows: slice | Tensor | np.ndarray) -> Tensor:
        """Some rows in memory: float32, or int64 if they are whole numbers.

        Raises:
            WorkError: a number is not finite (the message gives shard and row), or a file changed.
        """
        back: Tensor | None = None
        if not isinstance(rows, slice):
            rows = torch.as_tensor(rows).cpu()
            if bool((rows[1:] < rows[:-1]).any()):  # in the order of the shards, so that each is opened once
                rows, back = rows.sort()
        index = self.index.select(rows)
        out = torch.empty(len(index), *self.shape[1:], dtype=self.kind)
        self._fill(out, index)
        return out if back is None else torch.empty_like(out).index_copy_(0, back, out)

    def fill(self, out: Tensor, rows: slice) -> None:
        """`read` into an existing tensor."""
        self._fill(out, self.index.select(rows))

    def sample(self, most: int) -> Tensor:
        """A sample of rows: 64 evenly spaced runs, or rows of the first shard if whole shards must be read."""
        rows = max(_SAMPLED_RUNS, most) // _SAMPLED_RUNS
        blocks = self.blocks
        if blocks is not None:
            return self.read(slice(0, min(most, int(blocks[0]))))
        if _SAMPLED_RUNS * rows >= len(self):
            return self.read(slice(0, len(self)))
        starts = np.linspace(0, len(self) - rows, _SAMPLED_RUNS).astype(int).tolist()
        return torch.cat([self.read(slice(start, start + rows)) for start in starts])

    def _fill(self, out: Tensor, index: Index) -> None:
        at = 0
        for part, group in groupby(index, key=itemgetter(0)):
            runs = [(first, count) for _, first, count in group]
            until = at + sum(count for _, count in runs)
            for number, layer in enumerate(self.layers):
                region = layer[part]
                place = out[at:until, number] if self.stacked else out[at:until]
                if region.dtype == out.dtype and place.is_contiguous():
                    region.fill_runs(place, runs)
                else:
                    read = torch.empty(place.shape, dtype=region.dtype)
                    region.fill_runs(read, runs)
                    place.copy_(read)
            at = until
        if out.is_floating_point() and not bool(torch.isfinite(out.sum())):
            self._refuse(out, index)  # it returns if only the sum overflows

    def _refuse(self, out: Tensor, index: Index) -> None:
        bad = (~torch.isfinite(out)).flatten(1).any(1)
        if not bool(bad.any()):
            return
        part, row = index.locate(bad.nonzero()[:1, 0].numpy())
        region = self.layers[0][int(part[0])]
        raise WorkError(f"The activations hold NaN or infinite numbers: {region.blame(int(row[0]))}")
