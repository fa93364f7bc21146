"""A cache of unpacked arrays of named sets, by the checksum of their file."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np

from narrows.core.check import WorkError
from narrows.core.files import replacing, sha256

__all__ = ["cache_folder", "cached", "load_npz"]

_SMALL = 1 << 20
"""Arrays below this size (bytes) are unpacked each time."""


def cache_folder() -> Path:
    """The folder of downloads and unpacked arrays: NARROWS_CACHE, or `narrows` in the user's cache folder."""
    own = os.environ.get("NARROWS_CACHE")
    if own:
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "narrows"


def cached(checksum: str, name: str, make: Callable[[], np.ndarray]) -> np.ndarray:
    """An array that is slow to make: made once, then read from the cache folder.

    Args:
        checksum: of the file that it is made from; another content never meets an old array.
        name: which array of that file, and how it was made.
        make: makes it.
    """
    path = cache_folder() / "arrays" / checksum[:24] / f"{name}.npy"
    with suppress(OSError, ValueError, EOFError):  # absent or damaged: made again
        return np.load(path, allow_pickle=False)
    array = make()
    if array.nbytes >= _SMALL:
        with suppress(OSError, WorkError):  # a cache that cannot be written costs time, nothing else
            _write(path, array)
    return array


def _write(path: Path, array: np.ndarray) -> None:
    """Write to a temporary file, then rename it: no reader sees a partial array."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        np.save(file, array, allow_pickle=False)


def load_npz(path: Path, checksum: str, *keys: str) -> list[np.ndarray]:
    """Arrays of a .npz file whose checksum is known.

    Raises:
        WorkError: the file is not the one that the checksum belongs to.
    """
    if sha256(path) != checksum:
        raise WorkError(
            f"{path} is damaged or another version: its SHA-256 is not {checksum[:12]}... "
            "Delete it and get it again: narrows data get"
        )

    def member(key: str) -> Callable[[], np.ndarray]:
        def read() -> np.ndarray:
            with np.load(path, allow_pickle=False) as z:
                return z[key]

        return read

    with zipfile.ZipFile(path) as z:
        sizes = {info.filename.removesuffix(".npy"): info.file_size for info in z.infolist()}
    return [cached(checksum, key, member(key)) if sizes[key] >= _SMALL else member(key)() for key in keys]
