"""Rows of counts of which most are 0, in compressed form (CSR); a batch is made dense when it is read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from narrows.core.check import RequestError

__all__ = ["SparseRows"]


@dataclass(frozen=True, eq=False)
class SparseRows:
    """Rows of counts in memory: the values above 0, their columns, and the end of each row.

    Args:
        values: counts of at least 1, (nonzero,); uint16 if all are below 65536, else int32.
        columns: their columns, (nonzero,), ascending in each row; uint16 or int32.
        ends: the end of each row, (N,) int64.
        width: the number of columns, D.

    Example:
        >>> rows = SparseRows.of(np.array([3, 1]), np.array([2, 0]), np.array([0, 1, 2]), 3)
        >>> rows.read(slice(None))
        tensor([[0., 0., 3.],
                [1., 0., 0.]])
        >>> rows[torch.tensor([1])].read(slice(None)), rows.nbytes
        (tensor([[1., 0., 0.]]), 24)
    """

    values: np.ndarray
    columns: np.ndarray
    ends: np.ndarray
    width: int

    @classmethod
    def of(cls, values: np.ndarray, columns: np.ndarray, starts: np.ndarray, width: int) -> SparseRows:
        """Rows from the arrays of a CSR matrix in any order within a row; equal columns of a row are added.

        Args:
            values: (nonzero,) numbers.
            columns: (nonzero,) integers.
            starts: the start of each row and the end of the last, (N + 1,) integers.
            width: D.

        Raises:
            RequestError: arrays that are no CSR matrix, or numbers that are not whole or negative.
        """
        starts, columns = starts.astype(np.int64), columns.astype(np.int64)
        n = len(starts) - 1
        whole = len(values) == len(columns) and n >= 0 and starts[0] == 0 and starts[-1] == len(values)
        if not whole or (np.diff(starts) < 0).any() or ((columns < 0) | (columns >= width)).any():
            raise RequestError(
                "The arrays are not those of a CSR matrix: data, indices and indptr do not fit."
            )
        rows = np.repeat(np.arange(n), np.diff(starts))
        bad = np.flatnonzero(~(np.isfinite(values) & (values >= 0) & (values % 1 == 0)))
        if len(bad):
            at = f"{values[bad[0]]:g} in row {rows[bad[0]]}, column {columns[bad[0]]}"
            raise RequestError(
                f"Counts are whole numbers from 0, and {len(bad)} of these are others; the first is {at}. Give the "
                "counts before any normalisation, in files of cells often a ``layer``."
            )
        key, place = np.unique(rows * width + columns, return_inverse=True)
        total = np.zeros(len(key), np.int64)
        np.add.at(total, place, values.astype(np.int64))
        key, total = key[total > 0], total[total > 0]
        if len(total) and total.max() >= 1 << 24:
            raise RequestError(f"The largest count is {total.max()}, and float32 is exact below {1 << 24}.")
        return cls(
            total.astype(np.uint16 if not len(total) or total.max() < 1 << 16 else np.int32),
            (key % width).astype(np.uint16 if width <= 1 << 16 else np.int32),
            np.cumsum(np.bincount(key // width, minlength=n)).astype(np.int64),
            width,
        )

    def __len__(self) -> int:
        return len(self.ends)

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, D)."""
        return (len(self), self.width)

    @property
    def ndim(self) -> int:
        """2."""
        return 2

    @property
    def dtype(self) -> np.dtype:
        """The type of the counts."""
        return self.values.dtype

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return int(self.values.nbytes + self.columns.nbytes + self.ends.nbytes)

    @property
    def totals(self) -> np.ndarray:
        """The total of each row, (N,)."""
        sums = np.concatenate([[0], np.cumsum(self.values, dtype=np.int64)])
        return np.diff(sums[self.ends], prepend=0)

    def read(self, rows: Tensor | slice) -> Tensor:
        """Some rows, (B, D) float32."""
        number, place, lengths = self._places(rows)
        dense = np.zeros((len(number), self.width), np.float32)
        dense[np.repeat(np.arange(len(number)), lengths), self.columns[place]] = self.values[place]
        return torch.from_numpy(dense)

    def __getitem__(self, rows: Tensor | np.ndarray | slice) -> SparseRows:
        """Some rows as a store."""
        _, place, lengths = self._places(rows)
        return SparseRows(self.values[place], self.columns[place], np.cumsum(lengths), self.width)

    def _places(self, rows: Tensor | np.ndarray | slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The numbers of rows, the places of their values, and how many each row has."""
        chosen = rows.cpu().numpy() if isinstance(rows, Tensor) else rows
        number = np.arange(len(self))[chosen]
        starts = np.concatenate([[0], self.ends])[number]
        lengths = self.ends[number] - starts
        first = np.cumsum(lengths) - lengths
        place = np.arange(int(lengths.sum())) + np.repeat(starts - first, lengths)
        return number, place, lengths
