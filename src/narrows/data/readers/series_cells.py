"""The cells of a user's series: steps are appended, missing values are filled, all others are unchanged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from narrows.core.check import RequestError
from narrows.data.readers.cells import Cells
from narrows.data.readers.series import long_form, step_arrays
from narrows.data.readers.series_rows import SeriesRows, from_first

__all__ = ["SeriesCells", "cells_of_arrays", "cells_of_table"]

_UNITS = {10: ("D", 86400.0), 13: ("h", 3600.0), 16: ("m", 60.0), 19: ("s", 1.0)}
"""Units of dates and their seconds, by the length of the text."""


@dataclass(frozen=True, eq=False)
class SeriesCells:
    """Series, and their cells.

    Args:
        cells: a row for each step.
        columns: the columns of the C values of a step.
        order: the row of each step, by series, (total,).
        ends: the end of each series in them, (N,).
        moments: the time of each step, (total,) float64, dates in seconds; None without times.
        series: the column with the name of the series, if there is one.
        time: the column of the times, if there is one.
        dates: whether the times are dates.
        appended: number of steps appended to each series.
        packed: converts columns by name to the arrays of the user's format; None for a table.
    """

    cells: Cells
    columns: tuple[str, ...]
    order: np.ndarray
    ends: np.ndarray
    moments: np.ndarray | None = None
    series: str | None = None
    time: str | None = None
    dates: bool = False
    appended: int = 0
    packed: Callable[[Mapping[str, np.ndarray], int], Any] | None = None

    def extended(self, horizon: int) -> SeriesCells:
        """The series with empty steps appended, at the median spacing of each series."""
        last = self.order[self.ends - 1]
        repeats = np.ones(len(self.order), np.int64)
        repeats[last] += horizon
        copied = np.repeat(np.arange(len(repeats)), repeats)
        moved = np.cumsum(repeats) - repeats  # the new position of each row
        fresh = moved[last][:, None] + np.arange(1, horizon + 1)  # (N, horizon)
        places = zip(np.split(moved[self.order], self.ends[:-1]), fresh, strict=True)
        made = replace(
            self,
            cells=self.cells.take(copied),
            order=np.concatenate([np.concatenate(pair) for pair in places]),
            ends=self.ends + horizon * np.arange(1, len(self.ends) + 1),
            appended=self.appended + horizon,
        )
        for name in self._changing():
            made.cells.blank(name, fresh.ravel())
        return made if self.moments is None else made._timed(self.moments, self.ends, fresh)

    def _changing(self) -> list[str]:
        """The columns that are not constant within a series, which are not copied into new steps."""
        found = list(self.columns)
        for name, column in self.cells.columns.items():
            if name not in (*self.columns, self.series, self.time):
                values = np.asarray(column, dtype=object)[self.order]
                parts = np.split(values, self.ends[:-1])
                if any(len({str(value) for value in part}) > 1 for part in parts):
                    found.append(name)
        return found

    def _timed(self, moments: np.ndarray, ends: np.ndarray, fresh: np.ndarray) -> SeriesCells:
        """Set the times of new steps, in the format of the column."""
        assert self.time is not None
        parts = np.split(moments, ends[:-1])
        gaps = [np.diff(part) for part in parts]
        if not sum(map(len, gaps)):
            raise RequestError("No series has two steps, so the times of the next ones are unknown.")
        usual = float(np.median(np.concatenate(gaps)))
        spacing = np.array([float(np.median(gap)) if len(gap) else usual for gap in gaps])
        unit = self._unit(moments)
        if unit:  # times in whole units continue in whole units
            spacing = np.maximum(np.rint(spacing / unit), 1) * unit
        after = moments[ends - 1][:, None] + spacing[:, None] * np.arange(1, fresh.shape[1] + 1)
        self.cells.put(self.time, fresh.ravel(), self._written(after.ravel()))
        every = [np.concatenate(pair) for pair in zip(parts, after, strict=True)]
        return replace(self, moments=np.concatenate(every))

    def _unit(self, moments: np.ndarray) -> float:
        """The unit of which all times are multiples; 0 if there is none."""
        if not self.dates:
            return 1.0 if bool((moments == np.rint(moments)).all()) else 0.0
        return _UNITS[self._letters()][1] if self._letters() in _UNITS else 0.0

    def _letters(self) -> int:
        """The length of the longest date, if dates are text."""
        assert self.time is not None
        column = self.cells.columns[self.time]
        texts = column if isinstance(column, list) else [str(v) for v in np.asarray(column)]
        return max(len(text.removesuffix("Z")) for text in texts)

    def _written(self, moments: np.ndarray) -> list[Any]:
        assert self.time is not None
        column = self.cells.columns[self.time]
        if not self.dates:
            whole = bool((moments == np.rint(moments)).all())
            numbers = [int(moment) for moment in moments] if whole else moments.tolist()
            return [str(number) for number in numbers] if isinstance(column, list) else numbers
        dates = np.rint(moments * 1e6).astype("datetime64[us]")
        sample = column[0] if isinstance(column, list) else column[0].as_py()
        if not isinstance(sample, str):
            return list(dates)
        unit = _UNITS.get(self._letters(), ("us", 0.0))[0]
        texts = np.datetime_as_string(dates.astype(f"datetime64[{unit}]")).tolist()
        return [
            (text.replace("T", " ") if " " in sample else text) + "Z" * sample.endswith("Z") for text in texts
        ]

    def rows(self, window: int | None = None) -> SeriesRows:
        """The series as input to a model, NaN for empty cells.

        Args:
            window: cut them into windows of at most this many steps, from the end; appended steps are added to
                the last window.
        """
        values = np.stack([self._numbers(name) for name in self.columns], 1)[self.order]
        ends = self.ends
        if window is not None:
            starts = np.concatenate([[0], ends[:-1]])
            cuts = [
                np.arange(end - self.appended - window, start, -window)[::-1]
                for start, end in zip(starts, ends, strict=True)
            ]
            ends = np.concatenate([np.append(c, e) for c, e in zip(cuts, ends, strict=True)])
        times = None if self.moments is None else from_first(self.moments, ends)
        return SeriesRows(values, ends.astype(np.int64), times, columns=self.columns)

    def _numbers(self, name: str) -> np.ndarray:
        column, holes = self.cells.columns[name], self.cells.holes(name)
        if isinstance(column, list):
            true = {"true": 1.0, "false": 0.0}
            known = [true.get(text.lower(), text) for text in column]
            values = [0.0 if hole else value for value, hole in zip(known, holes, strict=True)]
        else:
            plain = column if isinstance(column, np.ndarray) else column.to_pylist()
            values = [0.0 if hole else value for value, hole in zip(plain, holes, strict=True)]
        numbers = np.array(values, np.float64)
        numbers[holes] = np.nan
        return numbers.astype(np.float32)


def cells_of_table(path: Path, options: Mapping[str, Any]) -> SeriesCells:
    """Series of a table in long form, .csv, .tsv or .parquet.

    Args:
        path: the file.
        options: `series`, `time`, `columns` and `labels` of `narrows.data.readers.series.read_series_table`.
    """
    form = long_form(path, **options)
    return SeriesCells(
        Cells.read(path),
        form.rows.columns,
        form.order,
        form.rows.ends,
        form.moments,
        form.series,
        form.time,
        form.dates,
    )


def cells_of_arrays(arrays: Mapping[str, np.ndarray], plain: bool = False) -> SeriesCells:
    """Series of arrays: ``x`` (total, C) with ``ends`` (N,), or (N, T, C); ``times`` likewise; and others.

    Args:
        arrays: arrays by name.
        plain: whether x is the only array given.

    Raises:
        RequestError: arrays with inconsistent shapes.

    Example:
        >>> found = cells_of_arrays({"x": np.zeros((2, 3, 1))}).extended(2)
        >>> found.rows().values.shape, found.ends
        ((10, 1), array([ 5, 10]))
    """
    wide, ends, times, equal = step_arrays(arrays, "the data")
    lengths = np.diff(ends, prepend=0)
    columns = {f"x{i}": np.ascontiguousarray(column) for i, column in enumerate(wide.T)}
    beside = {"series": np.repeat(np.arange(len(ends)), lengths)} | ({} if times is None else {"time": times})
    moments = None if times is None else np.asarray(times, np.float64)
    names = tuple(columns)

    def packed(found: Mapping[str, np.ndarray], draws: int) -> Any:
        steps = found["series"].reshape(max(draws, 1), -1)[0]
        counts = np.bincount(steps)
        made = np.stack([found[name] for name in names], 1)
        lead = (draws,) if draws else ()
        form = (len(counts), counts[0], wide.shape[1]) if equal else (len(steps), *arrays["x"].shape[1:])
        made = made.reshape(*lead, *form)
        if plain:
            return made
        kept = {**arrays, "x": made} | ({} if equal else {"ends": np.cumsum(counts)})
        if times is not None:
            kept["times"] = found["time"].reshape(max(draws, 1), -1)[0].reshape(form[:-1] if equal else -1)
        return kept

    order = np.arange(len(wide))
    time = None if times is None else "time"
    return SeriesCells(
        Cells({**beside, **columns}), names, order, ends, moments, "series", time, packed=packed
    )
