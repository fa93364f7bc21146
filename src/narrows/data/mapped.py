"""Rows of a tensor in memory or of an array mapped from a file, read without keeping the file's pages."""

from __future__ import annotations

import mmap
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from narrows.check import WorkError

__all__ = ["Rows", "read_rows", "spread"]

Rows: TypeAlias = "Tensor | np.ndarray"
"""A tensor, or a memory-mapped array."""

_GRAIN = mmap.ALLOCATIONGRANULARITY
_AT_ONCE = 256


def read_rows(x: Rows, rows: Tensor | slice) -> Tensor:
    """Rows of a store as a tensor: bytes stay bytes, everything else is float32.

    Raises:
        WorkError: the file became shorter since it was opened.

    Example:
        >>> read_rows(np.arange(4.0).reshape(2, 2), torch.tensor([1]))
        tensor([[2., 3.]])
    """
    if isinstance(x, Tensor):
        return x[rows] if isinstance(rows, slice) else x.index_select(0, rows.to(x.device))
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
    dtype = np.uint8 if picked.dtype in (np.uint8, np.bool_) else np.float32
    copy = np.array(picked, dtype=dtype, order="C")
    _drop_pages(x)
    return torch.from_numpy(copy)


def spread(x: np.ndarray, most: int, most_bytes: int = 32 << 20) -> Tensor:
    """Rows of a mapped array in 64 runs spread evenly over it, at most so many, or all if there are no more."""
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
