"""Rows of a tensor in memory or of an array mapped from a file, read without keeping the file's pages."""

from __future__ import annotations

import mmap
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

__all__ = ["Rows", "drop_pages", "read_rows"]

Rows: TypeAlias = "Tensor | np.ndarray"
"""A tensor, or a memory-mapped array."""


def read_rows(x: Rows, rows: Tensor | slice) -> Tensor:
    """Rows of a store as a tensor: bytes stay bytes, everything else is float32.

    Example:
        >>> read_rows(np.arange(4.0).reshape(2, 2), torch.tensor([1]))
        tensor([[2., 3.]])
    """
    if isinstance(x, Tensor):
        return x[rows] if isinstance(rows, slice) else x.index_select(0, rows.to(x.device))
    picked = x[rows] if isinstance(rows, slice) else x[rows.cpu().numpy()]
    dtype = np.uint8 if picked.dtype in (np.uint8, np.bool_) else np.float32
    copy = np.array(picked, dtype=dtype, order="C")
    drop_pages(x)
    return torch.from_numpy(copy)


def drop_pages(x: np.ndarray) -> None:
    """Let go of the pages of a mapped file that were read: they count as resident memory until then."""
    base: object = x
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        base.madvise(mmap.MADV_DONTNEED)
