"""Rows of a tensor in memory or of a memory-mapped array, read without keeping the file's pages resident."""

from __future__ import annotations

import mmap
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from narrows.activations.rows import ActivationRows
from narrows.core.check import WorkError
from narrows.data.sparse_rows import SparseRows

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

Rows: TypeAlias = "Tensor | np.ndarray | ActivationRows | SparseRows"
"""A tensor, a memory-mapped array, rows of activations, or rows of counts that are mostly 0."""

_GRAIN = mmap.ALLOCATIONGRANULARITY
_AT_ONCE = 256


class Exact(np.memmap):
    """A memory-mapped array whose rows are read in float64, as float32 would lose their differences."""


def exactly(x: Rows) -> Rows:
    """The same rows, read in float64 if they are memory-mapped and float32 would round them.

    Example:
        >>> exactly(np.zeros(2)).dtype
        dtype('float64')
    """
    if isinstance(x, np.memmap) and not np.can_cast(x.dtype, np.float32):
        return x.view(Exact)
    return x


def on_disk(x: Rows) -> bool:
    """Whether rows stay on disk and are read on demand."""
    return isinstance(x, (np.memmap, ActivationRows))


def fill_rows(out: Tensor, x: Rows, rows: slice) -> None:
    """Read rows into an existing tensor; non-finite numbers raise an error.

    Raises:
        WorkError: NaN or infinity; the message has the row.
    """
    if isinstance(x, ActivationRows):
        x.fill(out, rows)
    else:
        part = read_rows(x, rows)
        check_finite(part, rows.start)
        out[:] = part


def new_rows(x: Rows, count: int) -> Tensor:
    """An empty tensor for `count` rows of a store, of the type in which they are read."""
    if isinstance(x, ActivationRows):
        return torch.empty(count, *x.shape[1:], dtype=x.kind)
    return read_rows(x, slice(0, 0)).new_empty(count, *x.shape[1:])


def check_finite(x: Tensor, first: int) -> None:
    """Raise an error for NaN or infinity in rows read from a file during training, from row `first`."""
    if x.is_floating_point() and not bool(torch.isfinite(x.sum())):
        bad = (~torch.isfinite(x)).flatten(1).any(1)
        if bad.any():  # a sum may overflow although every number is finite
            row = first + int(bad.nonzero()[0])
            raise WorkError(
                f"The data contain NaN or infinite numbers; the first one read is in row {row} of the file."
            )


def read_rows(x: Rows, rows: Tensor | slice) -> Tensor:
    """Rows of a store as a tensor: bytes stay bytes, others are float32.

    Integers of a store of activations are int64, and rows of an `Exact` array float64.

    Raises:
        WorkError: the file was truncated since it was opened.

    Example:
        >>> read_rows(np.arange(4.0).reshape(2, 2), torch.tensor([1]))
        tensor([[2., 3.]])
    """
    if isinstance(x, Tensor):
        return x[rows] if isinstance(rows, slice) else x.index_select(0, rows.to(x.device))
    if isinstance(x, (ActivationRows, SparseRows)):
        return x.read(rows)
    if not isinstance(rows, slice):
        few = rows.cpu().split(
            _AT_ONCE
        )  # a page fault also loads neighbouring pages: release them before there are many
        return torch.cat([_copied(x, x[part.numpy()]) for part in few])
    picked = x[rows]
    if isinstance(picked, np.memmap) and picked.flags.c_contiguous:
        picked = _from_file(picked)
    return _copied(x, picked)


def _copied(x: np.ndarray, picked: np.ndarray) -> Tensor:
    """A copy of rows in memory; the file's pages that were read for it are released."""
    wide = np.float64 if isinstance(x, Exact) else np.float32
    copy = np.array(picked, dtype=np.uint8 if picked.dtype in (np.uint8, np.bool_) else wide, order="C")
    _drop_pages(x)
    return torch.from_numpy(copy)


def spread(x: np.ndarray | ActivationRows, most: int, most_bytes: int = 32 << 20) -> Tensor:
    """At most `most` rows of a memory-mapped array, in 64 evenly spaced segments, or all rows if there are fewer."""
    if isinstance(x, ActivationRows):
        return x.sample(max(64, min(most, most_bytes // max(1, x.row_bytes))))
    rows = max(64, min(most, most_bytes // max(1, x.nbytes // len(x)))) // 64
    if 64 * rows >= len(x):
        return read_rows(x, slice(0, len(x)))
    starts = np.linspace(0, len(x) - rows, 64).astype(int).tolist()
    return torch.cat([read_rows(x, slice(start, start + rows)) for start in starts])


def _from_file(part: np.memmap) -> np.ndarray:
    """Read a contiguous part of a memory-mapped file with read calls, without page faults or signals."""
    mapping = _mapping(part)
    if mapping is None or part.filename is None:
        return part
    within = part.ctypes.data - np.frombuffer(mapping, np.uint8).ctypes.data
    start = part.offset - part.offset % _GRAIN + within  # mappings start at multiples of the granularity
    read = np.fromfile(part.filename, part.dtype, part.size, offset=start)
    if read.size < part.size:
        raise WorkError(
            f"{part.filename} was truncated while it was read. Restore the whole file, then resume."
        )
    return read.reshape(part.shape)


def _mapping(x: np.ndarray) -> mmap.mmap | None:
    base: object = x
    while isinstance(base, np.ndarray):
        base = base.base
    return base if isinstance(base, mmap.mmap) else None


def _drop_pages(x: np.ndarray) -> None:
    """Release the pages of a memory-mapped file that were read, which count as resident memory."""
    mapping = _mapping(x)
    if mapping is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapping.madvise(mmap.MADV_DONTNEED)
