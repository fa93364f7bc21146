"""Named sets of long series: cut into windows, or of unequal length."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from narrows.data.assemble import Split
from narrows.data.dataset import Dataset, Source
from narrows.data.named.reading import arrays
from narrows.data.named.registry import Set
from narrows.data.readers.series import SeriesRows, opened
from narrows.data.sequences import series_like, series_source

__all__ = ["engines", "pieces"]


def pieces(
    row: Set,
    window: int = 64,
    like: Mapping[str, Any] | None = None,
    split: float | None = None,
    limit: int | None = None,
    scale: str = "auto",
) -> Source | Dataset:
    """Windows of many long series, NAB's of one number a step and SKAB's of eight; times are in seconds.

    Args:
        row: which set.
        window: steps of a window at most.
        like: the description of series that these are to be read like.
        split: the share of the test part.
        limit: at most so many windows in each part.
        scale: ``auto``, ``none``, ``unit`` or ``standard``.
    """
    (names,) = arrays(row, "names")
    key = "v" if row.name == "nab" else "x"
    found = arrays(row, *(f"{k}{i}" for i in range(len(names)) for k in ("t", key)))
    times, values = found[::2], [x.reshape(len(x), -1) for x in found[1::2]]
    kept = [np.concatenate([[True], np.diff(t) > 0]) for t in times]  # a clock that was set back repeats some
    ends = np.cumsum([int(k.sum()) for k in kept], dtype=np.int64)
    x = np.concatenate([v[k] for v, k in zip(values, kept, strict=True)]).astype(np.float32)
    when = np.concatenate([(t - t[0])[k] for t, k in zip(times, kept, strict=True)]).astype(np.float32)
    rows = SeriesRows(x, ends, when).windows(window)
    return opened(rows, row.name, like, split, limit, scale)


def engines(
    row: Set, like: Mapping[str, Any] | None = None, limit: int | None = None, scale: str = "auto"
) -> Source | Dataset:
    """The lives of 100 engines, up to 362 cycles of 24 settings and sensors; those of the test part end early.

    Args:
        row: which set.
        like: the description of series that these are to be read like.
        limit: at most so many engines in each part.
        scale: ``auto``, ``none``, ``unit`` or ``standard``.
    """
    train, test = (
        SeriesRows(part[:, 2:], np.cumsum(np.bincount(part[:, 0].astype(np.int64))[1:], dtype=np.int64)).raw()
        for part in arrays(row, "train", "test")
    )
    raw = replace(train, test=test)
    if like is not None:
        return series_like(raw, row.name, like, limit)
    return series_source(raw, row.name, Split(None, limit), scale)
