"""The edit distance against its recursion."""

from __future__ import annotations

import itertools
from functools import cache

import numpy as np

from narrows.kernels.edits import edit_distance


@cache
def by_hand(a: str, b: str) -> int:
    if not a or not b:
        return len(a) + len(b)
    return min(by_hand(a[1:], b) + 1, by_hand(a, b[1:]) + 1, by_hand(a[1:], b[1:]) + (a[0] != b[0]))


def test_it_is_the_least_number_of_edits():
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abc"), rng.integers(0, 7))) for _ in range(60)]
    for a, b in itertools.pairwise(words):
        assert edit_distance(a, b) == by_hand(a, b)
