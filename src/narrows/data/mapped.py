"""Rows of a tensor in memory or of an array mapped from a file, read without keeping the file's pages."""

from __future__ import annotations

import mmap
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from narrows.activations.rows import ActivationRows
from narrows.core.check import WorkError

__all__ = [
    "Exact",
    "Rows",
    "check_finite",
    "exactly",
    "fill_rows",
    "new_rows",
    "on_disk",
    "read_rows",
    "spread",
]

Rows: TypeAlias = "Tensor | np.ndarray | ActivationRows"
"""A tensor, a memory-mapped array, or rows of a harvest."""

_GRAIN = mmap.ALLOCATIONGRANULARITY
_AT_ONCE = 256


class Exact(np.memmap):
    """A mapped array whose rows are read in float64, because float32 would not hold what tells them apart."""


def exactly(x: Rows) -> Rows:
    """The same rows, read in float64 where they are mapped from a file of numbers that float32 would round.

    Example:
        >>> exactly(np.zeros(2)).dtype
        dtype('float64')
    """
    if isinstance(x, np.memmap) and not np.can_cast(x.dtype, np.float32):
        return x.view(Exact)
    return x


def on_disk(x: Rows) -> bool:
    """Whether rows stay where they are and are read as they are needed."""
    return isinstance(x, (np.memmap, ActivationRows))


def fill_rows(out: Tensor, x: Rows, rows: slice) -> None:
    """Read rows into a tensor that is there; numbers that are not finite are refused.

    Raises:
        WorkError: NaN or infinity; the text says where.
    """
    if isinstance(x, ActivationRows):
        x.fill(out, rows)
    else:
        part = read_rows(x, rows)
        check_finite(part, rows.start)
        out[:] = part


def new_rows(x: Rows, count: int) -> Tensor:
    """Room for so many rows of a store, of the type in which they are read."""
    if isinstance(x, ActivationRows):
        return torch.empty(count, *x.shape[1:], dtype=x.kind)
    return read_rows(x, slice(0, 0)).new_empty(count, *x.shape[1:])


def check_finite(x: Tensor, first: int) -> None:
    """Refuse NaN and infinity in rows that were read from a file, from row `first` on, while training."""
    if x.is_floating_point() and not bool(torch.isfinite(x.sum())):
        bad = (~torch.isfinite(x)).flatten(1).any(1)
        if bad.any():  # a sum may overflow where every number is finite
            row = first + int(bad.nonzero()[0])
            raise WorkError(
                f"The data hold NaN or infinite numbers: row {row} of the file is the first of them met."
            )


def read_rows(x: Rows, rows: Tensor | slice) -> Tensor:
    """Rows of a store as a tensor: bytes stay bytes, everything else is float32.

    Whole numbers of a harvest are int64, and rows of an `Exact` array float64.

    Raises:
        WorkError: the file became shorter since it was opened.

    Example:
        >>> read_rows(np.arange(4.0).reshape(2, 2), torch.tensor([1]))
        tensor([[2., 3.]])
    """
    if isinstance(x, Tensor):
        return x[rows] if isinstance(rows, slice) else x.index_select(0, rows.to(x.device))
    if isinstance(x, ActivationRows):
        return x.read(rows)
    if not isinstance(rows, slice):
        few = rows.cpu().split(
            _AT_ONCE
        )  # a fault brings in the pages around it too: let go before there are many
        return torch.cat([_copied(x, x[part.numpy()]) for part in few])
    picked = x[rows]
    if isinstance(picked, np.memmap) and picked.flags.c_contiguous:
        picked = _from_file(picked)
    return _copied(x, picked)


def _copied(x: np.ndarray, picked: np.ndarray) -> Tensor:
    """Rows in memory of their own; the pages of the file that were touched for them are let go."""
    wide = np.float64 if isinstance(x, Exact) else np.float32
    copy = np.array(picked, dtype=np.uint8 if picked.dtype in (np.uint8, np.bool_) else wide, order="C")
    _drop_pages(x)
    return torch.from_numpy(copy)


def spread(x: np.ndarray | ActivationRows, most: int, most_bytes: int = 32 << 20) -> Tensor:
    """Rows of a mapped array in 64 runs spread evenly over it, at most so many, or all if there are no more."""
    if isinstance(x, ActivationRows):
        return x.sample(max(64, min(most, most_bytes // max(1, x.row_bytes))))
    rows = max(64, min(most, most_bytes // max(1, x.nbytes // len(x)))) // 64
    if 64 * rows >= len(x):
        return read_rows(x, slice(0, len(x)))
    starts = np.linspace(0, len(x) - rows, 64).astype(int).tolist()
    return torch.cat([read_rows(x, slice(start, start + rows)) for start in starts])


def _from_file(part: np.memmap) -> np.ndarray:
    """Read a contiguous part of a mapped file through the file: no page faults, no resident pages, no signals."""
    mapping = _mapping(part)
    if mapping is None or part.filename is None:
        return part
    within = part.ctypes.data - np.frombuffer(mapping, np.uint8).ctypes.data
    start = part.offset - part.offset % _GRAIN + within  # a mapping starts at a multiple of the grain
    read = np.fromfile(part.filename, part.dtype, part.size, offset=start)
    if read.size < part.size:
        raise WorkError(
            f"{part.filename} became shorter while it was read. Put the whole file back, then resume."
        )
    return read.reshape(part.shape)


def _mapping(x: np.ndarray) -> mmap.mmap | None:
    base: object = x
    while isinstance(base, np.ndarray):
        base = base.base
    return base if isinstance(base, mmap.mmap) else None


def _drop_pages(x: np.ndarray) -> None:
    """Let go of the pages of a mapped file that were read: they count as resident memory until then."""
    mapping = _mapping(x)
    if mapping is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapping.madvise(mmap.MADV_DONTNEED)
