"""The cells of a column as numbers, dates or texts, by Arrow's type or by all texts of a CSV file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from narrows.core.check import optional
from narrows.data.schema.dates import date_form, seconds_of

__all__ = ["TEXT", "Typed", "as_dates", "as_numbers", "as_texts", "typed"]

TEXT = "text"
"""The `dtype` of the cells of a CSV file."""

_EXACT = 1 << 53
"""Integers beyond this have no exact float64."""
_LONGEST = 300
"""Integers of more digits are beyond float64."""
_CODE = re.compile(r"[+-]?0\d")
"""Texts that begin like this are codes, such as 01234, not numbers."""


@dataclass(frozen=True)
class Typed:
    """The cells of a column.

    Args:
        type: what the cells are; ``none`` if all are missing, ``other`` for lists, times of day and bytes.
        values: (N,): float64, seconds since 1970 for dates, 0 and 1 for truths; texts as objects. Missing cells hold
            NaN or an empty text.
        dtype: Arrow's type, or ``text``.
        levels: of a dictionary, its texts in order.
        ordered: whether they have an order.
        form: the format of dates that are text.
        big: whether there are integers that float64 rounds; then `values` are texts.
        odd: for a column of text whose cells are numbers or dates but for a few: what they are, and the first that is
            not.
    """

    type: Literal["number", "truth", "date", "text", "none", "other"]
    values: np.ndarray
    dtype: str
    levels: tuple[str, ...] = ()
    ordered: bool = False
    form: str = ""
    big: bool = False
    odd: tuple[str, str] = ("", "")

    @property
    def missing(self) -> np.ndarray:
        """The mask of missing cells, (N,)."""
        gone: np.ndarray = self.values == "" if self.values.dtype == object else np.isnan(self.values)
        return gone

    @property
    def seen(self) -> np.ndarray:
        """The cells that are not missing."""
        found: np.ndarray = self.values[~self.missing]
        return found


def typed(column: Any, missing: np.ndarray) -> Typed:
    """The cells of a column as numbers, dates or texts.

    Args:
        column: texts of a CSV file, a column of Arrow, or a NumPy array.
        missing: the mask of missing cells, (N,).

    Example:
        >>> typed(["1", "", "2.5"], np.array([False, True, False])).values.tolist()
        [1.0, nan, 2.5]
        >>> typed(["01234", "98765"], np.zeros(2, bool)).type
        'text'
    """
    if isinstance(column, list):
        return _of_texts(_texts(column, missing))
    found = _of_array(column, missing) if isinstance(column, np.ndarray) else _of_arrow(column, missing)
    return replace(found, type="none") if found.type != "other" and missing.all() else found


def as_numbers(cells: Typed) -> Typed | str:
    """The cells as numbers; the first text that is none."""
    if cells.type in ("number", "truth", "none"):
        values = np.full(len(cells.values), np.nan) if cells.values.dtype == object else cells.values
        return replace(cells, type="number", values=values)
    if cells.type == "date":
        return replace(cells, type="number")
    numbers = _parsed(cells.values, _number)
    return numbers if isinstance(numbers, str) else replace(cells, type="number", values=numbers)


def as_dates(cells: Typed, form: str = "") -> Typed | str:
    """The cells as dates, texts in a format; the first text that is none. Numbers are seconds since 1970."""
    if cells.type != "text":
        found = as_numbers(cells)
        return found if isinstance(found, str) else replace(found, type="date")
    if not form:
        form, wrong = date_form(dict.fromkeys(cells.seen.tolist()))
        if wrong or not form:
            return wrong or str(cells.seen[0])
    seconds = _parsed(cells.values, lambda text: seconds_of(text, form))
    return seconds if isinstance(seconds, str) else replace(cells, type="date", values=seconds, form=form)


def as_texts(cells: Typed) -> np.ndarray:
    """The cells as texts, numbers in standard notation; an empty text is missing."""
    if cells.values.dtype == object:
        return cells.values
    texts = np.empty(len(cells.values), dtype=object)
    truth = {0.0: "false", 1.0: "true"} if cells.type == "truth" else {}
    texts[:] = [truth.get(number) or _written(number) for number in cells.values.tolist()]
    return texts


def _of_texts(texts: np.ndarray) -> Typed:
    """The type of all texts."""
    levels = dict.fromkeys(texts.tolist())
    levels.pop("", None)
    if not levels:
        return Typed("none", texts, TEXT)
    if {level.lower() for level in levels} <= {"true", "false"}:
        return Typed("truth", np.array([_truth(text) for text in texts.tolist()]), TEXT)
    if not any(_CODE.match(level) for level in levels):
        numbers = _parsed(texts, _number)
        if not isinstance(numbers, str):
            big = any(abs(n) >= _EXACT for n in numbers[~np.isnan(numbers)]) and _loses(levels)
            return Typed("text" if big else "number", texts if big else numbers, TEXT, big=big)
        if sum(_number(level) is not None for level in levels) >= 0.9 * len(levels):
            return Typed("text", texts, TEXT, odd=("numbers", numbers))
    form, wrong = date_form(levels)
    if form and not wrong:
        seconds = _parsed(texts, lambda text: seconds_of(text, form))
        assert not isinstance(seconds, str)
        return Typed("date", seconds, TEXT, form=form)
    if form and sum(seconds_of(level, form) is not None for level in levels) >= 0.9 * len(levels):
        return Typed("text", texts, TEXT, odd=("dates", wrong))
    return Typed("text", texts, TEXT)


def _of_array(column: np.ndarray, missing: np.ndarray) -> Typed:
    name = str(column.dtype)
    if column.dtype.kind in "OUS":
        return Typed("text", _texts([str(v) for v in column.tolist()], missing), name)
    values = np.where(missing, np.nan, column.astype(np.float64))
    return Typed("truth" if column.dtype.kind == "b" else "number", values, name)


def _of_arrow(column: Any, missing: np.ndarray) -> Typed:
    types = optional("pyarrow.types", "tables", "read Parquet files")
    kind, name = column.type, str(column.type)
    if types.is_dictionary(kind):
        inner = replace(_of_arrow(column.cast(kind.value_type), missing), dtype=name)
        chunks = column.chunks if hasattr(column, "chunks") else [column]
        listed = (
            [] if inner.type != "text" else [str(v) for chunk in chunks for v in chunk.dictionary.to_pylist()]
        )
        seen = set(inner.values.tolist())
        levels = tuple(level for level in dict.fromkeys(listed) if level in seen)
        return replace(inner, levels=levels, ordered=bool(kind.ordered))
    if types.is_boolean(kind) or types.is_floating(kind) or types.is_decimal(kind) or types.is_integer(kind):
        whole = column.cast("string") if types.is_decimal(kind) else column
        values = _numpy(whole).astype(np.float64) if not types.is_integer(kind) else _numpy_filled(column)
        if types.is_integer(kind) and len(values) and max(int(values.max()), -int(values.min())) > _EXACT:
            return Typed("text", _texts([str(v) for v in column.to_pylist()], missing), name, big=True)
        numbers = np.where(missing, np.nan, values.astype(np.float64))
        return Typed("truth" if types.is_boolean(kind) else "number", numbers, name)
    if types.is_date(kind) or types.is_timestamp(kind):
        arrow = optional("pyarrow", "tables", "read Parquet files")
        zone = kind.tz if types.is_timestamp(kind) else None
        moments = column.cast(arrow.timestamp("us", tz=zone), safe=False).cast("int64")
        seconds = _numpy_filled(moments).astype(np.float64) / 1e6
        return Typed("date", np.where(missing, np.nan, seconds), name)
    if types.is_string(kind) or types.is_large_string(kind) or name == "string_view":
        return Typed("text", _texts([str(v) for v in column.to_pylist()], missing), name)
    if types.is_null(kind):
        return Typed("none", np.full(len(column), np.nan), name)
    return Typed("other", np.full(len(column), np.nan), name)


def _numpy(column: Any) -> np.ndarray:
    values: np.ndarray = (
        column.to_numpy() if hasattr(column, "chunks") else column.to_numpy(zero_copy_only=False)
    )
    return values


def _numpy_filled(column: Any) -> np.ndarray:
    """Integers, 0 where they are missing: with NaN they would be rounded to float64."""
    compute = optional("pyarrow.compute", "tables", "read Parquet files")
    return _numpy(compute.fill_null(column, 0))


def _texts(texts: Iterable[str], missing: np.ndarray) -> np.ndarray:
    known: dict[str, str] = {}  # equal texts are stored once
    array = np.empty(len(missing), dtype=object)
    array[:] = [
        "" if gone else known.setdefault(t, t) for t, gone in zip(texts, missing.tolist(), strict=True)
    ]
    return array


def _parsed(texts: np.ndarray, parse: Any) -> np.ndarray | str:
    """Texts as numbers, NaN for empty ones; the first that cannot be parsed."""
    known: dict[str, float] = {"": np.nan}
    for text in texts.tolist():
        if text not in known:
            number = parse(text)
            if number is None:
                return str(text)
            known[text] = number
    return np.array([known[text] for text in texts.tolist()])


def _number(text: str) -> float | None:
    try:
        return None if "_" in text else float(text)
    except ValueError:
        return None


def _loses(levels: Mapping[str, Any]) -> bool:
    """Whether float64 rounds one of the integers, or cannot hold it."""
    whole = (level for level in levels if level.lstrip("+-").isdecimal())
    return any(len(level) > _LONGEST or int(float(level)) != int(level) for level in whole)


def _truth(text: str) -> float:
    return np.nan if not text else float(text.lower() == "true")


def _written(number: float) -> str:
    if number != number:
        return ""
    return str(int(number)) if number == int(number) else repr(number)
