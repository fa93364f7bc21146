"""A folder of modalities of the same examples: each file, and each sub-folder of images, is one."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from narrows.core.check import RequestError
from narrows.data.readers import npy
from narrows.data.readers.columns import read_columns
from narrows.data.readers.image_folder import read_folder
from narrows.data.readers.views import few

__all__ = ["is_views_folder", "read_views_folder"]

_TABLES = (".csv", ".tsv", ".parquet")


def is_views_folder(path: Path) -> bool:
    """Whether a folder has files of arrays or tables; one with sub-folders of images only has classes."""
    return any(entry.suffix.lower() in (".npy", *_TABLES) for entry in path.iterdir() if entry.is_file())


def read_views_folder(path: Path, size: int | None = None) -> dict[str, np.ndarray]:
    """Read the arrays of a folder of modalities, by name.

    Args:
        path: the folder. ``image.npy`` and ``caption.csv`` are the modalities `image` and `caption`; the images of
            a sub-folder are one, in the order of their names; ``image_present.npy`` marks the rows that have one.
        size: pixels per side, for sub-folders of images.

    Raises:
        RequestError: two modalities of the same name, or a file that cannot be read.
    """
    arrays: dict[str, np.ndarray] = {}
    for entry in sorted(p for p in path.iterdir() if not p.name.startswith(".")):
        found = _read(entry, size)
        if found is None:
            continue
        if entry.stem in arrays:
            raise RequestError(f"{path} has two modalities named `{entry.stem}`. Rename one.")
        arrays[entry.stem] = found
    return arrays


def _read(entry: Path, size: int | None) -> np.ndarray | None:
    """The array of a file or a folder of images; None for other files."""
    if entry.is_dir():
        return np.asarray(read_folder(entry, size).x)
    if entry.suffix.lower() == ".npy":
        return npy.read_npy(entry)
    return _columns(entry) if entry.suffix.lower() in _TABLES else None


def _columns(file: Path) -> np.ndarray:
    """The columns of a table stacked, (N, D); a single column of text or few integers as classes, (N,)."""
    columns = read_columns(file, blanks=True)  # a blank line of one column is an absent row
    values = list(columns.values())
    if len(values) == 1:
        return _classes(values[0])
    texts = [name for name, column in columns.items() if column.dtype == object]
    if texts:
        raise RequestError(
            f"{file.name} has text in the column `{texts[0]}` among {len(values)}. Move it to a separate file: a "
            "modality of text is one column of classes."
        )
    return np.stack(values, 1)


def _classes(column: np.ndarray) -> np.ndarray:
    if column.dtype == object or column.ndim > 1:
        return column
    known = column[~np.isnan(column)]
    if not (known == np.round(known)).all() or not few(known):
        return column
    return np.array(["" if np.isnan(value) else str(int(value)) for value in column.tolist()], dtype=object)
