"""The cells of a column as the numbers that a model is trained on, read like the training data."""

from __future__ import annotations

from typing import Any

import numpy as np

from narrows.core import Spec
from narrows.core.check import RequestError
from narrows.core.columns import LEVELS
from narrows.data.schema.declared import KINDS
from narrows.data.schema.typed import TEXT, Typed, as_dates, as_numbers, as_texts

__all__ = ["coded"]

_BITS = {"true": 1.0, "false": 0.0, "1": 1.0, "0": 0.0}


def coded(cells: Typed, spec: Spec, name: str, table: str) -> np.ndarray:
    """Cells as numbers, (N,), NaN for missing cells and unknown levels.

    Args:
        cells: the cells of the column.
        spec: the column of the training data.
        name: name of the column, for messages.
        table: name of the table, for messages.

    Raises:
        RequestError: text where the training data had numbers or dates, an infinite number, or one that the type of the
            column cannot hold.
    """
    was = _was(spec)
    if cells.type == "other":
        raise RequestError(
            f"Column `{name}` of {table} was {was} in the training data, and is {cells.dtype} now. Give it as it was."
        )
    if spec.values in LEVELS or spec.vocabulary:
        if cells.type in ("number", "date") and _others(cells, spec):
            raise RequestError(
                f"Column `{name}` of {table} was {was} in the training data, with levels such as "
                f"{spec.vocabulary[0]!r}, and is {_is(cells)} now. Give it as it was."
            )
        return _levels(cells, spec)
    if spec.values == "binary" and cells.type == "text":
        return np.array([_BITS.get(text.lower(), np.nan) for text in cells.values.tolist()])
    dates = spec.values == "datetime"
    form = "" if spec.column is None else spec.column.form
    found = as_dates(cells, form) if dates else as_numbers(cells)
    if isinstance(found, str):
        row = int(np.flatnonzero(cells.values == found)[0])
        raise RequestError(
            f"Column `{name}` of {table} was {was} in the training data, but has the cell {found!r} in row {row}. "
            f"Correct or empty it, or mark it as missing: ``missing_values={found!r}``."
        )
    if cells.type in ("number", "date", "truth") and (cells.type == "date") != dates:
        raise RequestError(
            f"Column `{name}` of {table} was {was} in the training data, and is {_is(cells)} now. Give it as it was."
        )
    values = found.values
    bad = np.abs(values) > np.finfo(np.float32).max
    if spec.values in ("positive", "counts"):
        bad |= values < 0
    if spec.values == "counts":
        bad |= (values != np.rint(values)) & ~np.isnan(values)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise RequestError(
            f"Column `{name}` of {table} is {values[row]:g} in row {row}, which a column that was {was} in the "
            "training data cannot hold. Correct or empty it."
        )
    parts = (values != np.rint(values)) & ~np.isnan(values) if _is_whole(spec) else np.zeros(0, bool)
    if parts.any():
        row = int(np.flatnonzero(parts)[0])
        raise RequestError(
            f"Column `{name}` of {table} was {was} in the training data, but has {values[row]:g} in row {row}. "
            f"Round or empty it, or fit again with ``types={name}=real``."
        )
    return np.where(np.isin(values, (0.0, 1.0)), values, np.nan) if spec.values == "binary" else values


def _is_whole(spec: Spec) -> bool:
    """Whether a column was whole numbers by its type in the file or as declared, not just by its values."""
    column = spec.column
    if spec.values != "integer" or column is None:
        return False
    return column.dtype == TEXT or "int" in column.dtype or column.reason == "declared"


def _levels(cells: Typed, spec: Spec) -> np.ndarray:
    """Indices of levels; unknown ones are the last level if that is for others, else NaN."""
    place: dict[str, Any] = {level: float(i) for i, level in enumerate(spec.vocabulary)}
    rest = float(len(place) - 1) if spec.column is not None and spec.column.other else np.nan
    place[""] = np.nan
    return np.array([place.get(text, rest) for text in as_texts(cells).tolist()])


def _others(cells: Typed, spec: Spec) -> bool:
    """Whether no cell is one of the levels, of which some are no numbers."""
    levels = set(spec.vocabulary)
    return levels.isdisjoint(as_texts(cells).tolist()) and any(map(_is_word, levels))


def _is_word(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return True
    return False


def _was(spec: Spec) -> str:
    """The type of a column of the training data."""
    kind = next((kind for kind, values in KINDS.items() if values == spec.values), "numeric")
    if spec.column is None:
        return "numeric"
    return kind if spec.column.dtype in ("", TEXT) else f"{kind} ({spec.column.dtype})"


def _is(cells: Typed) -> str:
    """What cells are."""
    name = {"date": "dates", "number": "numbers", "truth": "true and false"}.get(cells.type, "text")
    return name if cells.dtype == TEXT else f"{name} ({cells.dtype})"
