"""Open data as several modalities: named arrays, files of one folder, or examples and their labels."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from narrows.core.check import RequestError
from narrows.data.dataset import Dataset, Source
from narrows.data.raw import Raw
from narrows.data.readers.arrays import numeric
from narrows.data.readers.formats import read_arrays
from narrows.data.readers.tables import test_part
from narrows.data.readers.views import RawViews, labelled, separate
from narrows.data.readers.views_folder import is_views_folder, read_views_folder
from narrows.data.split import Split
from narrows.data.views import ViewsDataset, assemble_views, views_like

__all__ = ["as_views"]

_KEYED = (".npz", ".safetensors")
_PAIRS = ("x", "x_train")
"""Arrays with these names have labels in an array named by the convention (``y``, ``y_train``)."""


def as_views(what: Any, name: str, reader: Callable[..., Any]) -> Callable[..., Raw | Source | Dataset]:
    """The reader of several modalities from anything that can be opened.

    Args:
        what: what is opened.
        name: short name for reports.
        reader: the reader of other kinds of data; if it is used, its options are accepted too.
    """
    arrays = _arrays_of(what)

    def read(
        kind: Literal["views"] = "views",
        missing: float = 0.0,
        scale: str = "auto",
        split: float | str | None = None,
        limit: int | None = None,
        forms: Mapping[str, Any] | None = None,
        like: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Source | ViewsDataset:
        marks = split if isinstance(split, str) else None
        least = 2 if like is None else 1
        raw = reader(**options) if arrays is None else arrays(marks, least, **options)
        raw = labelled(raw, least) if isinstance(raw, Raw) else raw
        assert isinstance(raw, RawViews)
        if like is not None:
            return views_like(like, raw, name, limit, missing)
        share = split if isinstance(split, float) else None
        return assemble_views(raw, name, Split(share, limit), scale, {}, missing=missing, described=forms)

    own = list(inspect.signature(read).parameters.values())[:-1]
    others = inspect.signature(reader if arrays is None else arrays).parameters.values()
    taken = {p.name for p in own} | {"marks", "least"}
    read.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [*own, *(p.replace(kind=p.KEYWORD_ONLY) for p in others if p.name not in taken)]
    )
    return read


def _arrays_of(what: Any) -> Callable[..., RawViews | Raw] | None:
    """The reader of modalities given as named arrays; None for other data."""
    if isinstance(what, Mapping):
        if set(map(str.lower, what)) & set(_PAIRS):
            return None

        def mapping(marks: str | None, least: int, layout: str = "auto") -> RawViews:
            found = {str(key): numeric(str(key), value, text=True) for key, value in what.items()}
            return _marked(found, marks, least, layout, "The arrays")

        return mapping
    if not isinstance(what, (str, Path)):
        return None
    path = Path(what).expanduser()
    if path.is_dir() and is_views_folder(path):

        def folder(marks: str | None, least: int, layout: str = "auto", size: int | None = None) -> RawViews:
            return _marked(read_views_folder(path, size), marks, least, layout, f"The files of {path}")

        return folder
    if path.suffix.lower() not in _KEYED or not path.is_file():
        return None

    def keyed(marks: str | None, least: int, layout: str = "auto") -> RawViews:
        return _marked(read_arrays(path), marks, least, layout, f"The arrays of {path.name}")

    return keyed


def _marked(
    arrays: Mapping[str, np.ndarray], marks: str | None, least: int, layout: str, what: str
) -> RawViews:
    """Modalities, and the array that marks the rows of the test set."""
    if marks is not None and marks not in arrays:
        raise RequestError(f"{what} have no array ``{marks}`` that marks the rows of the test set.")
    named = {name: array for name, array in arrays.items() if name != marks}
    raw = separate(named, what, layout, least)
    if marks is not None:
        raw.part = test_part(arrays[marks], marks)
    return raw
