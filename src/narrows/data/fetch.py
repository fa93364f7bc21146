"""`get`: the files of a named set."""

from __future__ import annotations

import os
from pathlib import Path

from narrows.check import WorkError
from narrows.data.registry import expand

__all__ = ["cache_folder", "get"]


def cache_folder() -> Path:
    """Where downloads and unpacked arrays are kept: NARROWS_CACHE, or `narrows` in the user's cache folder."""
    own = os.environ.get("NARROWS_CACHE")
    return Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "narrows"


def get(name: str) -> list[Path]:
    """The files of a set."""
    row = expand(name)
    folders = [Path(f) for f in (os.environ.get("NARROWS_DATA"),) if f] + [cache_folder() / "data"]
    found = []
    for file, _ in row.files:
        path = next((folder / file for folder in folders if (folder / file).exists()), None)
        if path is None:
            raise WorkError(f"The data `{name}` are not here: put {file} into the folder that NARROWS_DATA names.")
        found.append(path)
    return found
