"""The winner: the cheapest of those that are not told apart from the best."""

import math
import random
import statistics

from narrows.tournament.verdict import Entry, decide


def entry(name, value, cost, draws):
    return Entry(name, name, "tournament", (value,), tuple(draws), cost)


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


def form(value, steps, draws=(0.0, 0.0)):
    return {"value": value, "redrawn": [value + d for d in draws], "details": {"f": value}, "steps": steps}


def test_ties_see_the_seeds_of_training():
    best = Entry.of("best", "a", "tournament", [form(0.50, 9), form(0.54, 9)], 9.0)
    cheap = Entry.of("cheap", "b", "random search", [form(0.55, 9), form(0.57, 9), form(0.3, 5)], 1.0)
    assert cheap.seeds == (0.55, 0.57)  # a run of another length is not another seed
    assert cheap.details == {"f": (0.55 + 0.57) / 2}
    variance = (2 * 0.02**2 + 2 * 0.01**2) / 2  # pooled, with one degree of freedom each
    found = decide([best, cheap])
    assert math.isclose(found.seed_variance, variance)
    spread = math.sqrt(variance / 2 + variance / 2)
    assert 2 * spread > 0.04
    assert found.winner is cheap
    far = Entry.of("far", "b", "tournament", [form(0.62, 9)], 0.1)  # one seed: the pooled variance is its own
    assert 0.62 - best.value > 2 * math.sqrt(variance + variance / 2)
    assert decide([best, cheap, far]).level == ("best", "cheap")
    assert math.isclose(found.spread(far), math.sqrt(variance))


def test_a_baseline_has_the_spread_of_its_own_seeds():
    best = entry("best", 0.5, 9.0, [0.5, 0.5])
    sure = Entry("sure", "", "baseline", (0.51,), (0.51, 0.51), 0.1)
    drawn = Entry("drawn", "", "baseline", (0.50, 0.52), (0.51, 0.51), 0.2)
    found = decide([best, sure, drawn])
    assert found.winner is drawn
    assert found.seed_variance is None
    assert math.isclose(found.spread(drawn), 0.01)


def test_a_noisy_score_is_not_chosen_before_a_better_one_that_is_told_apart():
    best = entry("best", 0.92, 29.0, [0.92, 0.92, 0.92])
    near = entry("near", 1.0, 18.0, [0.8, 1.0, 1.2])
    sure = entry("sure", 1.65, 0.1, [1.64, 1.65, 1.66])
    noisy = entry("noisy", 1.82, 12.0, [1.0, 1.8, 2.6])
    assert decide([best, near, noisy]).winner is noisy
    found = decide([best, near, sure, noisy])
    assert found.winner is near
    assert set(found.level) == {"best", "near"}
