"""Mixed tables: numeric, binary and categorical columns, with missing cells, as numbers (N, D)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from narrows.core import Spec
from narrows.core.check import RequestError, nearest, refuse
from narrows.data.mapped import on_disk
from narrows.data.raw import Raw

__all__ = ["as_table", "mixed"]

_LEVELS = 1000
"""A text column with more levels than this is names or free text, not a category."""


def mixed(
    table: Mapping[str, np.ndarray],
    columns: Sequence[str],
    name: str,
    *,
    categories: Sequence[str] = (),
    missing: Sequence[str] = (),
    known: Mapping[str, Spec] | None = None,
) -> tuple[np.ndarray, dict[str, Spec]]:
    """The columns of a table as numbers, with NaN for a missing cell, and the `Spec` of each column.

    Text is categorical, with levels numbered in sorted order; a column of 0 and 1 is binary; any other is numeric. A
    missing cell is empty, NaN or null.

    Args:
        table: columns by name: float64 (N,), or text (N,) as objects.
        columns: the columns to use, in order.
        name: name of the table, for messages.
        categories: numeric columns that are categorical, such as postal codes.
        missing: further texts that mean a missing cell, such as ``?`` or ``-999``.
        known: the columns of the training data: they are read in the same way, and unknown levels are missing
            cells.

    Returns:
        Cells (N, D), float64, and the columns in order.

    Raises:
        RequestError: a column does not exist, is empty, or has too many levels.

    Example:
        >>> table = {"age": np.array([39.0, np.nan]), "job": np.array(["", "clerk"], dtype=object)}
        >>> x, columns = mixed(table, ["age", "job"], "people")
        >>> x.tolist(), columns["job"].vocabulary
        ([[39.0, nan], [nan, 0.0]], ('clerk',))
    """
    for column in categories:
        if column not in columns:
            raise refuse("categories", column, "columns of the table", nearest(column, columns))
    made, kinds = [], {}
    for column in columns:
        if column not in table:
            raise RequestError(
                f"{name} has no column `{column}`, which the model needs. "
                f"{nearest(column, table)} If all of it is missing, add an empty column of that name."
            )
        values = table[column]
        if values.ndim > 1:
            raise RequestError(
                f"Column `{column}` of {name} contains arrays; each cell of a table must be one value."
            )
        category = column in categories if known is None else known[column].values == "categories"
        cells = _Column(column, values, name, missing, category)
        kinds[column] = cells.kind() if known is None else known[column]
        made.append(cells.numbered(kinds[column]))
    return np.stack(made, 1), kinds


def as_table(raw: Raw, name: str, known: Mapping[str, Spec] | None = None) -> Raw:
    """Vectors as a table of numeric and binary columns; NaN is a missing cell.

    Args:
        raw: vectors (N, D); other data are returned unchanged.
        name: name of the data, for messages.
        known: as in `mixed`.
    """
    if raw.kind == "table" or np.ndim(raw.x) != 2 or on_disk(raw.x) or raw.target is not None:
        return raw
    names = list(known or raw.columns or (f"c{i}" for i in range(raw.x.shape[1])))
    if len(names) != raw.x.shape[1]:
        return raw
    x, parts = mixed(_columns(raw.x, names), names, name, known=known)
    test = None if raw.test is None else as_table(raw.test, name, parts)
    holes = bool(np.isnan(x).any())
    return replace(raw, x=x, kind="table", parts=parts, test=test, layout="vector", holes=holes)


def _columns(x: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
    return {name: x[:, i].astype(np.float64) for i, name in enumerate(names)}


class _Column:
    """One column: its cells as numbers with NaN, or as text with empty ones.

    Args:
        name: name of the column.
        values: its cells.
        table: name of the table.
        missing: texts that mean a missing cell.
        category: whether its numbers are categories.
    """

    def __init__(
        self, name: str, values: np.ndarray, table: str, missing: Sequence[str], category: bool
    ) -> None:
        self.name, self.table, self.category = name, table, category
        if values.dtype == object:
            gone = np.array([text in missing for text in values.tolist()], dtype=bool)
            values = np.where(gone, "", values)
            numbers = _numbers(values) if gone.any() and not category else None
            values = values if numbers is None else numbers
        else:
            marks = [number for number in map(_number, missing) if number is not None]
            values = np.where(np.isin(values, marks), np.nan, values)
            if np.isinf(values).any():
                row = int(np.flatnonzero(np.isinf(values))[0])
                raise RequestError(
                    f"Column `{name}` of {table} is infinite in row {row}. Correct or empty that cell."
                )
        self.values = values

    @property
    def text(self) -> bool:
        """Whether the cells are text."""
        return self.values.dtype == object

    def kind(self) -> Spec:
        """The `Spec` of the column, inferred from its cells."""
        if self.text or self.category:
            texts = self._texts()
            levels = tuple(sorted(set(texts.tolist()) - {""}))
            if len(levels) > _LEVELS:
                raise RequestError(
                    f"Column `{self.name}` of {self.table} has {len(levels)} different texts, but a category has at "
                    f"most {_LEVELS}. Leave it out (``columns`` names those to use), shorten its texts, or make "
                    "numbers of them."
                )
            if levels:
                return Spec((), "categories", classes=len(levels), vocabulary=levels)
        seen = self.values[~np.isnan(self.values)] if not self.text else np.empty(0)
        if not len(seen):
            raise RequestError(
                f"All cells of column `{self.name}` of {self.table} are missing. Leave it out: ``columns``."
            )
        return Spec((), "binary" if set(np.unique(seen).tolist()) == {0.0, 1.0} else "real")

    def numbered(self, kind: Spec) -> np.ndarray:
        """The cells as numbers, NaN for missing cells and unknown levels."""
        if kind.values == "categories":
            place = {level: float(i) for i, level in enumerate(kind.vocabulary)}
            return np.array([place.get(text, np.nan) for text in self._texts().tolist()])
        if self.text and (self.values != "").any():
            invalid = next(text for text in self.values.tolist() if text and _number(text) is None)
            raise RequestError(
                f"Column `{self.name}` of {self.table} was numeric in the training data, but has the cell "
                f"{invalid!r}. Empty such cells, or mark them as missing: ``missing_values={invalid!r}``."
            )
        numbers = np.full(len(self.values), np.nan) if self.text else self.values
        return np.where(np.isin(numbers, (0.0, 1.0)), numbers, np.nan) if kind.values == "binary" else numbers

    def _texts(self) -> np.ndarray:
        """The cells as text, with numbers in standard notation."""
        if self.text:
            return self.values
        texts = np.empty(len(self.values), dtype=object)
        texts[:] = [_written(number) for number in self.values.tolist()]
        return texts


def _written(number: float) -> str:
    if number != number:
        return ""
    return str(int(number)) if number == int(number) else repr(number)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _numbers(texts: np.ndarray) -> np.ndarray | None:
    """Texts as numbers, empty ones NaN; None if one cannot be parsed."""
    try:
        return np.array([float(text or "nan") for text in texts.tolist()])
    except ValueError:
        return None
