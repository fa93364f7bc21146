"""How the named sets are read: one function a way of storing them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from narrows.data.named.fetch import get, located
from narrows.data.named.registry import Set
from narrows.data.named.unpacked import load_npz

__all__ = ["arrays", "paths"]


def paths(row: Set) -> list[Path]:
    """The files of a set, downloaded where need be; whoever reads them verifies the checksums."""
    return located(row) or get(row.name, progress=True)


def arrays(row: Set, *keys: str) -> list[np.ndarray]:
    """Arrays of a set that is one .npz file."""
    return load_npz(paths(row)[0], row.files[0].sha256, *keys)
