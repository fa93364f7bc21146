"""Readers of the named data sets: one function per storage format."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from narrows.core.check import WorkError
from narrows.core.files import sha256
from narrows.data.named.fetch import get, located
from narrows.data.named.registry import Set
from narrows.data.named.unpacked import load_npz

__all__ = ["arrays", "paths", "verified"]


def paths(row: Set) -> list[Path]:
    """The files of a data set, downloaded if needed; their readers verify the checksums."""
    return located(row) or get(row.name, progress=True)


def verified(row: Set) -> Path:
    """The first file of a set, its content checked.

    Raises:
        WorkError: it is damaged.
    """
    path = paths(row)[0]
    if sha256(path) != row.files[0].sha256:
        raise WorkError(f"{path} is damaged or another version. Delete it and get it again.")
    return path


def arrays(row: Set, *keys: str) -> list[np.ndarray]:
    """Arrays of a set that is one .npz file."""
    return load_npz(paths(row)[0], row.files[0].sha256, *keys)
