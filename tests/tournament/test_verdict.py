"""The winner: the cheapest of those that are not told apart from the best."""

import math
import random
import statistics

from narrows.tournament.verdict import Entry, decide


def entry(name, value, cost, draws):
    return Entry(name, name, "tournament", value, tuple(draws), cost)


def test_ties_go_to_the_cheaper_and_clear_differences_to_the_better():
    draws = random.Random(0)
    rows = [draws.gauss(0, 1) for _ in range(50)]
    noise = [draws.gauss(0, 1) for _ in range(50)]
    best = entry("best", 0.5, 100.0, [0.5 + 0.1 * r for r in rows])
    paired = entry(
        "paired", 0.52, 1.0, [0.52 + 0.1 * r for r in rows]
    )  # worse on each redraw, by the same number
    cheap = entry("cheap", 0.52, 2.0, [0.52 + 0.1 * r + 0.05 * e for r, e in zip(rows, noise, strict=True)])
    sd = statistics.stdev(c - b for c, b in zip(cheap.redrawn, best.redrawn, strict=True))
    assert 2 * sd > 0.02
    found = decide([best, paired, cheap])
    assert found.best is best
    assert found.winner is cheap
    assert set(found.level) == {"best", "cheap"}


def test_entries_that_failed_do_not_take_part():
    bad = entry("bad", math.nan, 0.0, [math.nan] * 3)
    good = entry("good", 1.0, 5.0, [1.0, 1.1, 0.9])
    assert decide([bad, good]).winner is good
    assert decide([bad]) is None
