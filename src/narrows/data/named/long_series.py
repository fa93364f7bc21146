"""Named sets of long series: cut into windows, or of unequal length."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from narrows.data.named.reading import arrays
from narrows.data.named.registry import Set
from narrows.data.raw import Raw
from narrows.data.readers.series import SeriesRows

__all__ = ["engines", "pieces"]


def pieces(row: Set, window: int = 64) -> Raw:
    """Windows of many long series, NAB's of one number a step and SKAB's of eight; times are in seconds.

    Args:
        row: which set.
        window: steps of a window at most.
    """
    (names,) = arrays(row, "names")
    key = "v" if row.name == "nab" else "x"
    found = arrays(row, *(f"{k}{i}" for i in range(len(names)) for k in ("t", key)))
    times, values = found[::2], [x.reshape(len(x), -1) for x in found[1::2]]
    kept = [np.concatenate([[True], np.diff(t) > 0]) for t in times]  # a clock that was set back repeats some
    ends = np.cumsum([int(k.sum()) for k in kept], dtype=np.int64)
    x = np.concatenate([v[k] for v, k in zip(values, kept, strict=True)]).astype(np.float32)
    when = np.concatenate([(t - t[0])[k] for t, k in zip(times, kept, strict=True)]).astype(np.float32)
    return SeriesRows(x, ends, when).windows(window).raw()


def engines(row: Set) -> Raw:
    """The lives of 100 engines, up to 362 cycles of 24 settings and sensors; those of the test part end early."""
    train, test = (
        SeriesRows(part[:, 2:], np.cumsum(np.bincount(part[:, 0].astype(np.int64))[1:], dtype=np.int64)).raw()
        for part in arrays(row, "train", "test")
    )
    return replace(train, test=test)
