"""Named sets of long series: cut into windows or beats, or of unequal length, with labels of their steps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from narrows.core.check import refuse, whole
from narrows.data.named.reading import arrays
from narrows.data.named.registry import Set, expand
from narrows.data.raw import Raw
from narrows.data.readers.series_rows import SeriesRows

__all__ = ["beats", "engines", "pieces", "whole_series"]

_KEYS = {"nab": ("v", "a", ("anomaly",)), "skab": ("x", "y", ("anomaly", "changepoint"))}
"""Names of the values, of the labels, and what the labels are."""
_FIRST = 400
"""The first rows of a run of SKAB, which are its training data."""


def whole_series(name: str) -> tuple[SeriesRows, list[str]]:
    """The uncut series of ``nab`` or ``skab``, with marks ``anomaly`` (and ``changepoint``), and their names.

    Times are in seconds from the first step. A few steps whose time is not above the previous one are left out.

    Args:
        name: which set.

    Raises:
        RequestError: another set.
    """
    if name not in _KEYS:
        raise refuse("name", name, f"one of {', '.join(_KEYS)}")
    row, (values, labels, marks) = expand(name), _KEYS[name]
    names = [str(n) for n in arrays(row, "names")[0]]
    free = [n.startswith("anomaly-free") for n in names]
    keys = [
        f"{key}{i}"
        for i in range(len(names))
        for key in ("t", values, labels)
        if key != labels or not free[i]
    ]
    found = dict(zip(keys, arrays(row, *keys), strict=True))
    parts: dict[str, list[np.ndarray]] = {key: [] for key in ("x", "t", *marks)}
    for i in range(len(names)):
        times = found[f"t{i}"]
        kept = times > np.concatenate([[times[0] - 1], np.maximum.accumulate(times)[:-1]])
        parts["x"].append(found[f"{values}{i}"].reshape(len(times), -1)[kept])
        parts["t"].append((times - times[0])[kept])
        known = found.get(f"{labels}{i}", np.zeros((len(times), len(marks)), bool)).reshape(len(times), -1)
        for column, mark in enumerate(marks):
            parts[mark].append(known[kept, column])
    each = {key: np.concatenate(part).astype(np.float32) for key, part in parts.items()}
    ends = np.cumsum([len(part) for part in parts["x"]], dtype=np.int64)
    return SeriesRows(each["x"], ends, each["t"], marks={mark: each[mark] for mark in marks}), names


def pieces(row: Set, window: int = 64, stride: int | None = None) -> Raw:
    """Windows of many long series, NAB's of one number a step and SKAB's of eight; times are in seconds.

    The first rows of each series, in which its benchmark scores no anomalies, are training data: of NAB 15 % and at
    most 750, of SKAB 400 and the run without anomalies. The label of a window says whether it has an anomaly; those of
    steps are the columns ``anomaly`` and ``changepoint``.

    Args:
        row: which set.
        window: steps of a window at most.
        stride: steps from one window to the next; by default the window.
    """
    rows, names = whole_series(row.name)
    if row.name == "nab":
        heads = np.minimum(np.floor(0.15 * rows.lengths), 750).astype(np.int64)
    else:
        heads = np.where(
            [n.startswith("anomaly-free") for n in names], rows.lengths, np.minimum(_FIRST, rows.lengths)
        )
    parts = []
    for starts, ends in ((rows.starts, rows.starts + heads), (rows.starts + heads, rows.ends)):
        kept = np.flatnonzero(ends > starts)
        part = rows.stretches(kept, starts[kept], ends[kept]).windows(window, stride)
        odd = np.maximum.reduceat(part.marks["anomaly"], part.starts) > 0
        parts.append(replace(part, labels=np.where(odd, "anomaly", "normal")).raw())
    return replace(parts[0], test=parts[1])


def engines(row: Set, window: int | None = None, stride: int | None = None) -> Raw:
    """The lives of 100 engines, up to 362 cycles of 24 settings and sensors; those of the test part end early.

    The column ``rul`` of each step is the number of cycles that remain.

    Args:
        row: which set.
        window: cut the lives into windows of this many steps at most.
        stride: steps from one window to the next; by default the window.
    """
    train, test, left = arrays(row, "train", "test", "rul_test")
    parts = []
    for part, after in ((train, np.zeros(100)), (test, left)):
        lengths = np.bincount(part[:, 0].astype(np.int64))[1:]
        ends = np.cumsum(lengths, dtype=np.int64)
        remaining = np.repeat(ends + after, lengths) - np.arange(1, len(part) + 1)
        rows = SeriesRows(part[:, 2:], ends, marks={"rul": remaining.astype(np.float32)})
        parts.append((rows if window is None else rows.windows(window, stride)).raw())
    return replace(parts[0], test=parts[1])


def beats(row: Set, before: int = 96, length: int = 256) -> Raw:
    """The heart beats of a two-lead record in millivolts, with their annotated class: N, A or V.

    The last fifth of the record is the test part.

    Args:
        row: which set.
        before: samples before the annotated peak; there are 360 in a second.
        length: samples of a beat, T.
    """
    if whole("before", before, low=0) >= whole("length", length):
        raise refuse("before", before, f"below the length of a beat, {length}")
    adc, gain, baseline, peak, symbol = arrays(row, "adc", "gain", "baseline", "beat_sample", "beat_symbol")
    first = peak.astype(np.int64) - before
    kept = np.isin(symbol, ("N", "A", "V")) & (first >= 0) & (first + length <= len(adc))
    first = first[kept]
    signal = ((adc - baseline) / gain).astype(np.float32)
    return Raw(
        signal[first[:, None] + np.arange(length)],
        symbol[kept],
        layout="sequence",
        groups=np.zeros(len(first), np.int64),
        spans=np.stack([first, first + length], 1),
        split=0.2,
    )
