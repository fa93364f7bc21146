"""The edit distance of two sequences of symbols."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["edit_distance"]


def edit_distance(a: Sequence[object], b: Sequence[object]) -> int:
    """The least number of insertions, deletions and substitutions that turn one sequence into the other.

    Example:
        >>> edit_distance("sitting", "kitten")
        3
    """
    numbers = {symbol: i for i, symbol in enumerate({*a, *b})}
    left, right = (np.array([numbers[s] for s in side], np.int64) for side in (a, b))
    columns = np.arange(len(right) + 1)
    row = columns.copy()
    for i, symbol in enumerate(left, 1):
        above = np.minimum(row[1:] + 1, row[:-1] + (right != symbol))
        row = np.concatenate([[i], above])
        # An insertion costs 1 per column, so it is a running minimum of the row minus its column numbers.
        row = np.minimum.accumulate(row - columns) + columns
    return int(row[-1])
