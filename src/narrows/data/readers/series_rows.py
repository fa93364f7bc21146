"""Series in memory, and their windows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from narrows.core.check import RequestError, refuse, whole
from narrows.data.raw import Raw
from narrows.data.sequences import listed

__all__ = ["SeriesRows", "cut", "from_first"]

_LONGEST = 10_000
"""Number of steps above which a series must be cut into windows."""


@dataclass(frozen=True, eq=False)
class SeriesRows:
    """Concatenated series.

    Args:
        values: all steps, (total, C) float32; NaN for missing values.
        ends: the end of each series, (N,) int64.
        times: the time of each step, (total,) float32, relative to the first step of its series; None if steps
            have distance one.
        labels: class of each series, (N,), or None.
        columns: the names of the C columns, if they have names.
        marks: further numbers of each step by name, (total,) each, which no model reads: labels of steps.
        groups: the index of the series of each window, (N,); None if series were not cut.
        firsts: the step of its series at which each window begins, (N,); None if series were not cut.
        left_out: number of series that are shorter than a window.
    """

    values: np.ndarray
    ends: np.ndarray
    times: np.ndarray | None = None
    labels: np.ndarray | None = None
    columns: tuple[str, ...] = ()
    marks: Mapping[str, np.ndarray] = field(default_factory=dict)
    groups: np.ndarray | None = None
    firsts: np.ndarray | None = None
    left_out: int = 0

    def __len__(self) -> int:
        return len(self.ends)

    @property
    def starts(self) -> np.ndarray:
        """The start of each series, (N,)."""
        return np.concatenate([[0], self.ends[:-1]]).astype(np.int64)

    @property
    def lengths(self) -> np.ndarray:
        """The number of steps of each series, (N,)."""
        return np.diff(self.ends, prepend=0)

    def rows(self, rows: np.ndarray) -> SeriesRows:
        """Some of the series."""
        made = self.stretches(rows, self.starts[rows], self.ends[rows])
        return made if self.groups is not None else replace(made, groups=None, firsts=None)

    def stretches(self, rows: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> SeriesRows:
        """Steps from `starts` to `ends`, places in `values`, of the series of the given indices."""
        lengths = ends - starts
        fresh = np.cumsum(lengths, dtype=np.int64)
        steps = np.arange(lengths.sum()) + np.repeat(starts - (fresh - lengths), lengths)
        before = 0 if self.firsts is None else self.firsts[rows]
        return replace(
            self,
            values=self.values[steps],
            ends=fresh,
            times=None if self.times is None else from_first(self.times[steps], fresh),
            labels=None if self.labels is None else self.labels[rows],
            marks={name: values[steps] for name, values in self.marks.items()},
            groups=rows if self.groups is None else self.groups[rows],
            firsts=before + starts - self.starts[rows],
        )

    def raw(self) -> Raw:
        """The series as examples; of windows, the stores ``series`` and ``step`` say where each begins."""
        cuts = self.ends[:-1]
        stores = {name: listed(np.split(values, cuts)) for name, values in self.marks.items()}
        if self.times is not None:
            stores["times"] = listed(np.split(self.times, cuts))
        raw = Raw(
            listed(np.split(self.values, cuts)),
            self.labels,
            stores=stores,
            kind="series",
            columns=self.columns,
        )
        if self.left_out:
            raw.left_out = {f"{self.left_out} series": "shorter than the window"}
        if self.groups is None or self.firsts is None:
            return raw
        stores |= {"series": self.groups, "step": self.firsts}
        spans = np.stack([self.firsts, self.firsts + self.lengths], 1)
        return replace(raw, stores=stores, groups=self.groups, spans=spans)

    def windows(self, length: int, stride: int | None = None) -> SeriesRows:
        """Every series cut into windows.

        Args:
            length: steps of a window. Without a stride the last window of a series may be shorter, so that every step
                lies in one window.
            stride: steps from one window to the next. Then all windows have `length` steps, shorter series are left
                out, and windows overlap if it is below `length`.

        Raises:
            RequestError: all series are shorter than a window.

        Example:
            >>> rows = SeriesRows(np.zeros((7, 1)), np.array([5, 7]))
            >>> rows.windows(2).ends.tolist(), rows.windows(3, 1).firsts.tolist()
            ([2, 4, 5, 7], [0, 1, 2])
        """
        most = int(self.lengths.max())
        if whole("window", length) > most:
            raise refuse("window", length, f"at most {most}, the steps of the longest series")
        if stride is None:
            firsts = [np.arange(0, steps, length) for steps in self.lengths]
        else:
            firsts = [np.arange(0, steps - length + 1, whole("stride", stride)) for steps in self.lengths]
        rows = np.repeat(np.arange(len(self)), [len(first) for first in firsts])
        starts = self.starts[rows] + np.concatenate(firsts).astype(np.int64)
        made = self.stretches(rows, starts, np.minimum(starts + length, self.ends[rows]))
        return replace(made, left_out=0 if stride is None else int((self.lengths < length).sum()))


def cut(rows: SeriesRows, window: int | None, name: str, stride: int | None = None) -> SeriesRows:
    """The series cut into windows, if `window` is given.

    Raises:
        RequestError: a single series, or one that is too long, without a window; an infinite number; a stride without a
            window.
    """
    if np.isinf(rows.values).any():
        where = np.argwhere(np.isinf(rows.values))[0]
        column = f"`{rows.columns[where[1]]}`" if rows.columns else where[1]
        raise RequestError(f"`{name}` has an infinite number, in step {where[0]}, column {column}.")
    if window is not None:
        return rows.windows(window, stride)
    if stride is not None:
        raise refuse("stride", stride, "left out without ``window``", "Give both: ``window=64, stride=16``.")
    longest = int(rows.lengths.max())
    if len(rows) == 1 or longest > _LONGEST:
        reason = "is one series" if len(rows) == 1 else f"has a series of {longest} steps"
        raise RequestError(f"`{name}` {reason}. Give the number of steps of an example: ``window=64``.")
    return rows


def from_first(moments: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Times relative to the first step of each series, which float32 can represent."""
    lengths = np.diff(ends, prepend=0)
    return (moments - np.repeat(moments[ends - lengths], lengths)).astype(np.float32)
