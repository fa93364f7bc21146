"""Successive halving against a schedule by brute force."""

import itertools
import math
import random

import pytest

from narrows.core.check import RequestError
from narrows.tournament.policy import (
    Price,
    Schedule,
    Task,
    makespan,
    members,
    plan,
    ready,
    with_search,
)


def brute_force(n, r, eta, scores):
    """Who is trained how far, by the definition: rung after rung, sort and cut. Returns tasks and steps by task."""
    trained, alive, steps, rung = {}, list(range(n)), r, 0
    while True:
        for one in alive:
            trained[Task(one, rung)] = steps
        ranked = sorted((scores[Task(one, rung)], one) for one in alive)
        keep = n // eta ** (rung + 1)
        if keep == 0:
            return trained
        alive = [one for score, one in ranked if score < math.inf][:keep]
        steps, rung = steps * eta, rung + 1


@pytest.mark.parametrize(("n", "eta"), [(27, 3), (18, 3), (9, 3), (3, 3), (16, 2), (7, 2), (1, 3)])
def test_decisions_are_those_of_brute_force_in_any_order_of_arrival(n, eta):
    schedule, draws = Schedule(n, 10, eta), random.Random(n)
    table = {
        Task(one, rung): draws.choice([draws.random(), 0.5, math.inf])
        for one in range(n + schedule.searched)
        for rung in range(len(schedule.rungs))
    }
    expected = brute_force(n, 10, eta, table)
    search = {Task(n + k, schedule.last) for k in range(schedule.searched)}
    for _ in range(3):
        scores = {}
        while tasks := ready(schedule, scores):
            one = draws.choice(tasks)
            scores[one] = table[one]
        assert set(scores) == set(expected) | search
        assert {t: schedule.steps(t.rung) for t in scores if t.candidate < n} == expected


def test_the_cost_is_the_sum_of_the_steps_that_are_trained():
    for n, eta in itertools.product((3, 9, 12, 27), (2, 3)):
        schedule = Schedule(n, 7, eta)
        table = {Task(c, k): c + 1.0 for c in range(n) for k in range(9)}
        trained = brute_force(n, 7, eta, table)
        total = sum(max(s for t, s in trained.items() if t.candidate == one) for one in range(n))
        assert schedule.cost == total
        assert (
            schedule.searched * schedule.rungs[-1].steps
            <= total
            < (schedule.searched + 1) * schedule.rungs[-1].steps
        )


def test_failed_and_undefined_scores_are_not_promoted():
    schedule = Schedule(9, 10)
    scores = {Task(n, 0): math.inf if n % 2 else math.nan for n in range(9)}
    scores[Task(4, 0)] = 2.0
    assert members(schedule, scores, 1) == (4,)
    assert members(schedule, scores | {Task(4, 1): math.inf}, 2) == ()


def test_a_rung_waits_for_all_scores_of_the_one_before():
    schedule = Schedule(9, 10)
    scores = {Task(n, 0): float(n) for n in range(8)}
    assert members(schedule, scores, 1) is None
    assert {t.rung for t in ready(schedule, scores) if t.candidate < 9} == {0}


def test_the_planned_time_is_the_longest_that_scores_can_cause():
    draws = random.Random(1)
    schedule = Schedule(9, 20)
    prices = [Price(draws.random(), 0.25) for _ in range(9 + schedule.searched)]
    tables = [{Task(n, k): draws.random() for n in range(9) for k in range(3)} for _ in range(20)]
    tables.append({Task(n, k): -prices[n].step for n in range(9) for k in range(3)})
    found = []
    for table in tables:
        trained = brute_force(9, 20, 3, table)
        last = [max(s for t, s in trained.items() if t.candidate == n) for n in range(9)]
        search = sum(180 * price.step + 0.25 for price in prices[9:])
        found.append(sum(last[n] * prices[n].step for n in range(9)) + 0.25 * len(trained) + search)
    assert max(found) == pytest.approx(found[-1])
    assert makespan(schedule, prices, 1) == pytest.approx(found[-1])


def test_more_workers_take_no_more_time_and_no_less_than_their_share():
    prices = [Price(0.1 * (n + 1), 0.5) for n in range(11)]
    one, two = (makespan(Schedule(9, 20), prices, workers) for workers in (1, 2))
    assert one / 2 <= two < one


@pytest.mark.parametrize("seconds", [10.0, 20.0, 200.0, 1000.0])
def test_the_plan_has_the_most_candidates_that_leave_a_long_last_rung(seconds):
    prices, drawn = (
        [Price(0.01 * (1 + n % 3), 0.2) for n in range(27)],
        random.Random(0).sample(range(27), 27),
    )

    def needed(n, first):
        some = Schedule(n, first)
        return makespan(some, with_search(some, prices, drawn), 2)

    def longest(n):  # the steps of the last rung, by trying all numbers of two digits
        numbers = (r for k in (1, 2, 3) for r in range(10 * 10**k, 100 * 10**k, 10**k))
        fitting = list(itertools.takewhile(lambda r: needed(n, r) <= seconds, numbers))
        return Schedule(n, fitting[-1]).rungs[-1].steps if fitting else None

    held = {n: steps for n in (27, 12, 9, 3) if (steps := longest(n))}
    chosen = next((n for long in (5000, 1000, 0) for n, steps in held.items() if steps >= long), None)
    schedule, least = plan(prices, drawn, seconds, 2)
    assert least == needed(3, 100)
    assert (schedule and schedule.candidates) == chosen
    assert schedule is None or schedule.rungs[-1].steps == held[chosen]


def test_too_little_time_has_no_plan():
    assert plan([Price(1.0, 0.0)] * 3, range(3), 10.0, 1) == (
        None,
        makespan(Schedule(3, 100), [Price(1.0, 0.0)] * 4, 1),
    )


def test_random_search_draws_without_looking_at_scores():
    schedule = Schedule(9, 10)
    assert with_search(schedule, list("abcdefghijk"), [10, 4, 9, 2, 0]) == [*"abcdefghi", "e", "c"]


def test_sizes_are_checked():
    with pytest.raises(RequestError, match="candidates"):
        Schedule(0, 10)
    with pytest.raises(RequestError, match="eta"):
        Schedule(9, 10, 1)
