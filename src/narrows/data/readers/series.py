"""Series of unequal length with times and missing values: from tables in long form, data frames and arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from narrows.core.check import RequestError, nearest, refuse
from narrows.core.texts import names_of
from narrows.data.raw import Raw
from narrows.data.readers.cells import Cells
from narrows.data.readers.columns import read_columns
from narrows.data.readers.frames import is_frame
from narrows.data.readers.npy import read_npy, read_npz
from narrows.data.readers.series_rows import SeriesRows, cut, from_first

__all__ = [
    "LongForm",
    "SeriesRows",
    "from_arrays",
    "long_form",
    "read_series_arrays",
    "read_series_table",
    "series_in_memory",
]

_SERIES = ("series", "series_id", "id", "unit", "subject")
_TIMES = ("time", "t", "times", "timestamp", "date", "datetime")
_LABELS = ("label", "labels", "class", "y")


def read_series_table(
    what: Any,
    series: str | None = None,
    time: str | None = None,
    columns: str | Sequence[str] | None = None,
    labels: str | None = None,
    window: int | None = None,
    stride: int | None = None,
) -> Raw:
    """Read series from a table with one step per row: the name of its series, its time and its values.

    Args:
        what: the path of a .csv, .tsv or .parquet file, or a data frame. Empty cells are missing values.
        series: the column with the name of the series; when None, a column named series, series_id, id, unit or
            subject. Without one, the table is one series, which ``window`` cuts.
        time: the column of the times, numbers or dates; when None, a column named time, t, times, timestamp, date
            or datetime. Without one, rows are in order, at distance one.
        columns: the columns of values; all other numeric ones when None.
        labels: the column with the class of each series, the same in all its rows; when None, a column named
            label, labels, class or y; ``"none"`` for none.
        window: cut the series into windows of at most this many steps.
        stride: steps from one window to the next, see `SeriesRows.windows`.

    Raises:
        RequestError: columns that do not exist, are not numeric or are inconsistent within a series; repeated
            times; a window longer than all series.
    """
    form = long_form(what, series, time, columns, labels)
    return cut(form.rows, window, _name(what), stride).raw()


def read_series_arrays(path: Path, window: int | None = None, stride: int | None = None) -> Raw:
    """Read series from arrays: x (total, C) with ends (N,), (N, T, C), or with a window (T, C); times likewise; y (N,).

    Args:
        path: an .npz file of arrays by name, or an .npy file with x.
        window: cut the series into windows of at most this many steps.
        stride: steps from one window to the next, see `SeriesRows.windows`.
    """
    arrays = read_npz(path, None)[1] if path.suffix.lower() == ".npz" else {"x": read_npy(path)}
    return from_arrays(arrays, path.name, window, stride).raw()


def series_in_memory(
    what: Any,
    series: str | None = None,
    time: str | None = None,
    columns: str | Sequence[str] | None = None,
    labels: str | None = None,
    window: int | None = None,
    stride: int | None = None,
) -> Raw:
    """Read series from a data frame, as `read_series_table`, or from arrays, as `read_series_arrays`.

    Args:
        what: a frame, an array x, or a mapping of arrays.
        series: of a frame, the column with the name of the series.
        time: of a frame, the column of the times.
        columns: of a frame, the columns of values.
        labels: of a frame, the column with the class of each series.
        window: cut the series into windows of at most this many steps.
        stride: steps from one window to the next.

    Raises:
        RequestError: names of columns for arrays, or as for files.

    Example:
        >>> len(series_in_memory(np.zeros((100, 2)), window=20, stride=10))
        9
    """
    named = {"series": series, "time": time, "columns": columns, "labels": labels}
    if is_frame(what):
        return read_series_table(what, **named, window=window, stride=stride)  # type: ignore[arg-type]
    for argument, value in named.items():
        if value is not None:
            raise refuse(
                argument, value, "left out for arrays", "Columns have names in a data frame or a file."
            )
    arrays = what if isinstance(what, Mapping) else {"x": what}
    return from_arrays({k: np.asarray(v) for k, v in arrays.items()}, "arrays", window, stride).raw()


def _name(what: Any) -> str:
    """The name of a file or a frame, for messages."""
    return what.name if isinstance(what, Path) else "the data frame"


@dataclass(frozen=True, eq=False)
class LongForm:
    """A table in long form, and the roles of its columns.

    Args:
        rows: the series.
        order: the row of the table of each step, (total,).
        moments: the time of each step, (total,) float64, dates in seconds; None if the table has no times.
        series: the column with the name of the series, if there is one.
        time: the column of the times, if there is one.
        dates: whether the times are dates.
    """

    rows: SeriesRows
    order: np.ndarray
    moments: np.ndarray | None
    series: str | None
    time: str | None
    dates: bool


def long_form(
    what: Any,
    series: str | None = None,
    time: str | None = None,
    columns: str | Sequence[str] | None = None,
    labels: str | None = None,
) -> LongForm:
    """Read a table in long form without cutting its series; see `read_series_table`."""
    name = _name(what)
    table = read_columns(what) if isinstance(what, Path) else Cells.of_frame(what).plain()
    which, when = _found(table, series, _SERIES, "series"), _found(table, time, _TIMES, "time")
    classes = None if labels == "none" else _found(table, labels, _LABELS, "labels")
    others = {c: v for c, v in table.items() if c not in (which, when, classes) and v.ndim == 1}
    chosen = names_of(columns) or [c for c, v in others.items() if v.dtype != object or _mostly_numbers(v)]
    if not chosen:
        raise RequestError(f"{name} has no numeric column left for the values.")
    values = np.stack([_numbers(table, column, name) for column in chosen], 1)
    rows = len(values)
    groups, first = _grouped(table[which] if which else np.zeros(rows), name)
    moments = np.arange(rows, dtype=np.float64) if when is None else _moments(table[when], when, name)
    order = np.lexsort((moments, groups))
    ends = np.cumsum(np.bincount(groups), dtype=np.int64)
    made = SeriesRows(
        values[order].astype(np.float32),
        ends,
        None if when is None else from_first(moments[order], ends),
        None if classes is None else _one_each(table[classes], groups, first, classes, name),
        tuple(chosen),
    )
    if when is not None:
        _once(moments[order], order, groups[order], table[when], (when, name))
    dates = when is not None and table[when].dtype == object
    return LongForm(made, order, None if when is None else moments[order], which, when, dates)


def from_arrays(
    arrays: Mapping[str, np.ndarray], name: str, window: int | None = None, stride: int | None = None
) -> SeriesRows:
    """Read ``x`` (total, C) or (total,) with ``ends`` (N,), or ``x`` (N, T, C); ``times`` likewise; ``y`` (N,).

    With a window, ``x`` (T, C) or (T,) without ``ends`` is one series.

    Args:
        arrays: arrays by name; NaN in x is a missing value.
        name: name of the data, for messages.
        window: cut the series into windows of at most this many steps.
        stride: steps from one window to the next, see `SeriesRows.windows`.

    Raises:
        RequestError: no x, or inconsistent lengths.

    Example:
        >>> made = from_arrays({"x": np.arange(5.0), "ends": np.array([2, 5])}, "a")
        >>> made.values.shape, len(made)
        ((5, 1), 2)
    """
    if window is not None and "ends" not in arrays and "x" in arrays and arrays["x"].ndim < 3:
        arrays = {**arrays, "ends": np.array([len(arrays["x"])])}
    steps, labels = step_arrays(arrays, name), arrays.get("y")
    ends = steps.ends
    if labels is not None and len(labels) != len(ends):
        raise refuse("y", f"{len(labels)} classes", f"one for each of the {len(ends)} series")
    moments = None if steps.times is None else np.asarray(steps.times, np.float64)
    times = None if moments is None else from_first(moments, ends)
    made = SeriesRows(steps.x.astype(np.float32), ends, times, labels)
    if times is not None:
        _rising(made, "times", name)
    return cut(made, window, name, stride)


class StepArrays(NamedTuple):
    """The steps of all series in order, in the types of the given arrays.

    Args:
        x: their values, (total, C).
        ends: the end of each series, (N,) int64.
        times: the time of each step, (total,), if given.
        equal: whether the given array has an axis for the series, (N, T, C).
    """

    x: np.ndarray
    ends: np.ndarray
    times: np.ndarray | None
    equal: bool


def step_arrays(arrays: Mapping[str, np.ndarray], name: str) -> StepArrays:
    """Check arrays of series: ``x`` (total, C) or (total,) with ``ends`` (N,), or (N, T, C); ``times`` likewise.

    Args:
        arrays: arrays by name.
        name: name of the data, for messages.

    Raises:
        RequestError: no x, or inconsistent shapes.
    """
    x, ends, times = (arrays.get(key) for key in ("x", "ends", "times"))
    if x is None:
        raise RequestError(f"{name} has no array `x`: {', '.join(arrays) or 'it is empty'}.")
    if x.dtype.kind not in "fiub":
        raise refuse("x", f"an array of type {x.dtype} in `{name}`", "numbers")
    equal = ends is None
    if equal:
        if x.ndim != 3:
            raise refuse("x", f"an array of shape {x.shape}", "(N, T, C), or (total, C) with ``ends``")
        times = None if times is None else np.broadcast_to(times, x.shape[:2]).reshape(-1)
        x, ends = x.reshape(-1, x.shape[2]), x.shape[1] * np.arange(1, len(x) + 1)
    else:
        x, ends = x[:, None] if x.ndim == 1 else x, np.asarray(ends).astype(np.int64)
    fits = x.ndim == 2 and ends.ndim == 1 and len(ends) and ends[-1] == len(x)
    if not fits or (np.diff(ends, prepend=0) < 1).any():
        expected = f"ascending numbers up to {len(x)}, the total number of steps"
        raise refuse("ends", ends.tolist()[:8], expected)
    if times is not None and len(times) != len(x):
        raise refuse("times", f"{len(times)} times", f"one for each of the {len(x)} steps")
    return StepArrays(x, ends, times, equal)


def _rising(rows: SeriesRows, when: str, name: str) -> None:
    """Raise an error for times that are not strictly increasing."""
    assert rows.times is not None
    step = np.diff(rows.times)
    step[rows.ends[:-1] - 1] = 1  # from one series to the next
    if not (step > 0).all():
        at = int(np.flatnonzero(~(step > 0))[0])
        which = int(np.searchsorted(rows.ends, at, side="right"))
        raise RequestError(
            f"`{when}` of `{name}` must increase within a series, but does not in series {which}, step "
            f"{at + 1 - int(rows.starts[which])}. Sort the steps and drop duplicates."
        )


def _once(
    moments: np.ndarray, order: np.ndarray, groups: np.ndarray, texts: np.ndarray, where: tuple[str, str]
) -> None:
    """Raise an error if a series has two steps of one time; steps are sorted, by series and time."""
    twice = np.flatnonzero((np.diff(moments) == 0) & (np.diff(groups) == 0))
    if len(twice):
        column, name = where
        first, second = sorted(int(order[twice[0] + i]) for i in (0, 1))
        raise RequestError(
            f"Rows {first} and {second} of {name} (counted from 0) are steps of one series with the same `{column}`, "
            f"{texts[second]}. Drop one of them, or name the column of the series: ``series``."
        )


def _found(
    table: Mapping[str, np.ndarray], given: str | None, defaults: Sequence[str], argument: str
) -> str | None:
    if given is not None:
        if given not in table:
            raise refuse(argument, given, "a column of the table", nearest(given, table))
        return given
    return next((c for u in defaults for c in table if c.lower() == u), None)


def _numbers(table: Mapping[str, np.ndarray], column: str, name: str) -> np.ndarray:
    if column not in table:
        raise RequestError(f"{name} has no column `{column}`. It has: {', '.join(table)}.")
    values = table[column]
    if values.ndim > 1:
        raise refuse("columns", column, f"columns of {name} with one number per row")
    if values.dtype == object:
        row = next((row for row, value in enumerate(values) if not _is_number(value)), 0)
        raise RequestError(
            f"Column `{column}` of {name} has the text {str(values[row])!r} in row {row} (counted from 0), where "
            "numbers are read. Correct it or empty the cell, or name the columns to read: ``columns``."
        )
    return values


def _is_number(value: Any) -> bool:
    """Whether a cell is empty or a number."""
    try:
        float(value or 0)
    except (TypeError, ValueError):
        return False
    return True


def _mostly_numbers(values: np.ndarray) -> bool:
    """Whether more than half of the cells with a content are numbers, so that the others are mistakes."""
    known = [value for value in values if value not in ("", None)]
    return 2 * sum(map(_is_number, known)) > len(known)


def _grouped(names: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
    """The series index of each row, in order of their first rows, and those rows."""
    texts = names.astype(str)
    if (texts == "").any() or (texts == "nan").any():
        raise RequestError(f"{name} has a row without the name of its series.")
    _, first, inverse = np.unique(texts, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[inverse], np.sort(first)


def _moments(values: np.ndarray, column: str, name: str) -> np.ndarray:
    """Times as numbers; dates are seconds."""
    if values.dtype != object:
        numbers = values.astype(np.float64)
    else:
        texts = [str(v).replace("Z", "") for v in values]
        try:
            dates = np.array(texts, dtype="datetime64[us]")
        except ValueError as error:
            row = next((row for row, text in enumerate(texts) if not _is_date(text)), 0)
            raise RequestError(
                f"Column `{column}` of {name} has {str(values[row])!r} in row {row} (counted from 0), which is no "
                "date. The format of dates is 2024-03-31 or 2024-03-31T12:00:00; times may also be numbers."
            ) from error
        numbers = np.where(np.isnat(dates), np.nan, dates.astype(np.int64) / 1e6)
    absent = np.flatnonzero(~np.isfinite(numbers))
    if len(absent):
        raise RequestError(
            f"Column `{column}` of {name} has no time in {len(absent)} rows, the first of them row {absent[0]} "
            "(counted from 0). Fill them in, or leave these rows out."
        )
    return numbers


def _is_date(text: str) -> bool:
    try:
        np.datetime64(text, "us")
    except ValueError:
        return False
    return True


def _one_each(
    values: np.ndarray, groups: np.ndarray, first: np.ndarray, column: str, name: str
) -> np.ndarray:
    """The class of each series, which must be the same in all its rows."""
    each: np.ndarray = values[first]
    if (values != each[groups]).any():
        fix = "Name another column, or ``labels='none'``."
        raise refuse("labels", column, f"a column of {name} with one class per series", fix)
    return each
