"""Successive halving against a schedule by brute force; plans against all that could happen."""

import itertools
import math
import random
from dataclasses import replace

import pytest

from narrows.core.check import RequestError
from narrows.tournament.planning import (
    ETA,
    SIZES,
    Field,
    Measured,
    Price,
    first_rung,
    following,
    needed,
    prices_of,
)
from narrows.tournament.policy import MOST, Schedule, Task, finalists, members, ready, repeated, sources


def halved(n, steps, eta, scores):
    """Who is trained how far, by the definition: rung after rung, sort and cut. Returns steps by task."""
    trained, alive, rung = {}, list(range(n)), 0
    for rung, total in enumerate(steps):
        for one in alive:
            trained[Task(one, rung)] = total
        ranked = sorted((scores[Task(one, rung)], one) for one in alive)
        alive = [one for score, one in ranked if score < math.inf][: n // eta ** (rung + 1)]
    return trained


def complete(n, first=10, eta=ETA, repeats=0):
    sizes = Schedule(n, (first,), 0, eta).sizes
    return Schedule(n, tuple(first * eta**k for k in range(len(sizes))), repeats, eta)


@pytest.mark.parametrize(("n", "eta"), [(27, 3), (18, 3), (9, 3), (3, 3), (16, 2), (7, 2), (1, 3)])
def test_decisions_are_those_of_brute_force_in_any_order_of_arrival(n, eta):
    schedule, draws = complete(n, 10, eta), random.Random(n)
    table = {
        Task(one, rung): draws.choice([draws.random(), 0.5, math.inf])
        for one in range(n + schedule.searched + MOST)
        for rung in range(len(schedule.steps))
    }
    expected = halved(n, schedule.steps, eta, table)
    search = {Task(n + k, schedule.last) for k in range(schedule.searched)}
    ranked = sorted(
        (table[t], t.candidate)
        for t in {*expected, *search}
        if t.rung == schedule.last and table[t] < math.inf
    )
    first, second, third = ([one for _, one in ranked[:3]] + [None] * 3)[:3]
    wanted = [one for one in (first, second, first, second, third, third) if one is not None]
    schedule = replace(schedule, repeats=len(wanted))
    start = n + len(search)
    again = {Task(start + k, schedule.last) for k in range(len(wanted))}
    for _ in range(3):
        scores = {}
        while tasks := ready(schedule, scores):
            one = draws.choice(tasks)
            scores[one] = table[one]
        trains = bool(expected.keys() & {Task(c, schedule.last) for c in range(n)})
        assert set(scores) == set(expected) | (
            search | again if trains or schedule.last == 0 else set(scores)
        )
        assert {t: schedule.steps[t.rung] for t in scores if t.candidate < n} == expected
        assert list(repeated(schedule, scores)) == wanted
        if wanted:
            assert finalists(schedule, scores)[0] == wanted[0]


def test_the_cost_is_the_sum_of_the_steps_that_are_trained():
    for n, eta in itertools.product((3, 9, 12, 27), (2, 3)):
        schedule = complete(n, 7, eta)
        table = {Task(c, k): c + 1.0 for c in range(n) for k in range(9)}
        trained = halved(n, schedule.steps, eta, table)
        total = sum(max(s for t, s in trained.items() if t.candidate == one) for one in range(n))
        assert schedule.cost == total
        last = schedule.steps[-1]
        assert schedule.searched * last <= total < (schedule.searched + 1) * last


def test_failed_and_undefined_scores_are_not_promoted():
    schedule = complete(9)
    scores = {Task(n, 0): math.inf if n % 2 else math.nan for n in range(9)}
    scores[Task(4, 0)] = 2.0
    assert members(schedule, scores, 1) == (4,)
    assert members(schedule, scores | {Task(4, 1): math.inf}, 2) == ()


def test_a_rung_and_random_search_wait_for_all_scores_of_the_rung_before():
    schedule = complete(9)
    scores = {Task(n, 0): float(n) for n in range(8)}
    assert members(schedule, scores, 1) is None
    assert ready(schedule, scores) == (Task(8, 0),)
    scores |= {Task(8, 0): 8.0, Task(0, 1): 0.0, Task(1, 1): 1.0}
    assert ready(schedule, scores) == (Task(2, 1),)
    assert ready(schedule, scores | {Task(2, 1): 2.0}) == (Task(9, 2), Task(10, 2), Task(0, 2))


def test_the_planned_time_is_the_longest_that_scores_can_cause():
    draws = random.Random(1)
    schedule, drawn = Schedule(9, (20, 70, 180)), draws.sample(range(9), 9)
    prices = {n: Price(draws.random(), 0.25) for n in range(9)}
    tables = [{Task(n, k): draws.random() for n in range(9) for k in range(3)} for _ in range(20)]
    tables.append({Task(n, k): -prices[n].step for n in range(9) for k in range(3)})
    found = []
    for table in tables:
        trained = halved(9, schedule.steps, 3, table)
        last = [max(s for t, s in trained.items() if t.candidate == n) for n in range(9)]
        search = sum(180 * prices[n].step + 0.25 for n in drawn[: schedule.searched])
        found.append(sum(last[n] * prices[n].step for n in range(9)) + 0.25 * len(trained) + search)
    assert schedule.searched == (9 * 20 + 3 * 50 + 110) // 180
    assert max(found) == pytest.approx(found[-1])
    assert needed(schedule, {}, prices, Field(drawn, 1)) == pytest.approx(found[-1])


def test_more_workers_take_no_more_time_and_no_less_than_their_share():
    prices = {n: Price(0.1 * (n + 1), 0.5) for n in range(9)}
    one, two = (needed(complete(9, 20), {}, prices, Field(range(9), workers)) for workers in (1, 2))
    assert one / 2 <= two < one


@pytest.mark.parametrize("seconds", [10.0, 20.0, 200.0, 2000.0])
def test_the_first_rung_has_the_most_candidates_that_leave_a_long_last_one(seconds):
    prices = [Price(0.01 * (1 + n % 3), 0.2) for n in range(27)]
    field = Field(random.Random(0).sample(range(27), 27), 2)

    def takes(n, first):
        return needed(complete(n, first, repeats=2), {}, dict(enumerate(prices)), field)

    schedule, least = first_rung(prices, field, seconds)
    assert least == takes(3, 100)
    larger = [n for n in SIZES if schedule is None or n > schedule.candidates]
    for n in larger:  # even the fewest steps that would do take too long
        assert takes(n, max(100, math.ceil(SIZES[n] / 3 ** complete(n).last))) > seconds
    if schedule is not None:
        n, (first,) = schedule.candidates, schedule.steps
        assert takes(n, first) <= seconds < takes(n, math.ceil(1.02 * first) + 1)
    assert (schedule and schedule.candidates) == {10.0: None, 20.0: 3, 200.0: 9, 2000.0: 27}[seconds]


def test_too_little_time_has_no_plan():
    schedule, least = first_rung([Price(1.0, 0.0)] * 3, Field(range(3), 1), 10.0)
    assert schedule is None
    assert least == 3 * 100 + 200 + 300 + 2 * 300


def played(draws, seconds, table, prices, slower):
    """A tournament in which jobs end in a random order, and the machine is slower than its prices; what was planned."""
    field = Field(random.Random(5).sample(range(9), 9), 2)
    schedule, _ = first_rung([prices[n] for n in range(9)], field, seconds)
    scores, measured, plans, used = {}, [Measured(n, 0, prices[n]) for n in range(9)], [schedule], 0.0
    while schedule is not None:
        owner = sources(schedule, scores, field.drawn)
        begun = dict(scores)
        real = {n: Price(p.step * slower, p.task) for n, p in prices.items()}
        while tasks := ready(schedule, scores):
            one = draws.choice(tasks)
            owner = sources(schedule, scores, field.drawn)
            scores[one] = table[one]
            measured.append(Measured(owner[one.candidate], schedule.more(one), real[owner[one.candidate]]))
        used += needed(schedule, begun, real, field)
        schedule = following(schedule, scores, prices_of(measured), field, seconds - used)
        plans.append(schedule)
    return plans, scores, used


@pytest.mark.parametrize("slower", [0.5, 1.0, 1.6])
def test_plans_depend_on_records_and_not_on_their_order(slower):
    draws = random.Random(3)
    table = {Task(n, k): draws.random() for n in range(30) for k in range(3)}
    prices = {n: Price(0.004 * (1 + draws.random()), 0.5) for n in range(9)}
    one, scores, used = played(random.Random(0), 150.0, table, prices, slower)
    assert one[0].candidates == 9
    for seed in range(1, 6):
        assert played(random.Random(seed), 150.0, table, prices, slower) == (one, scores, used)
    plans = one[:-1]
    assert plans[-1].complete
    assert used <= 150.0
    assert used > 0.7 * 150  # what a machine of another speed leaves is used by later rungs and other seeds
    grown = plans[-1].steps[1] / plans[-1].steps[0]
    assert grown > 3 if slower < 1 else grown < 3 if slower > 1 else grown >= 3


def test_nothing_is_planned_that_does_not_end_in_time():
    prices, field = {n: Price(0.1, 1.0) for n in range(3)}, Field(range(3), 1)
    scores = {Task(n, 0): float(n) for n in range(3)}
    for seconds in (1.0, 5.0, 10.0, 50.0, 200.0):
        found = following(Schedule(3, (100,)), scores, prices, field, seconds)
        if found is None:  # even 1.2 times the steps, with random search at equal cost, takes longer
            assert needed(Schedule(3, (100, 121)), scores, prices, field) > seconds
        else:
            assert needed(found, scores, prices, field) <= seconds
    done = {**scores, Task(0, 1): 0.5, Task(3, 1): 0.4}
    whole = Schedule(3, (100, 300))
    took = [following(whole, done, prices, field, 31.0 * k + 0.5) for k in range(7)]
    assert [one and one.repeats for one in took] == [None, 1, 2, 3, 4, 4, 4]
    assert following(took[4], done, prices, field, 1000.0) is None
    assert following(Schedule(3, (100,)), dict.fromkeys(scores, math.inf), prices, field, 1e4) is None


def test_a_price_is_that_of_the_longest_training_and_of_equal_ones_the_dearest():
    found = [Measured(0, 30, Price(0.1, 1)), Measured(0, 50, Price(0.2, 1)), Measured(0, 50, Price(0.3, 1))]
    for order in itertools.permutations([*found, Measured(1, 0, Price(5, 5))]):
        assert prices_of(order) == {0: Price(0.3, 1), 1: Price(5, 5)}


def test_random_search_draws_without_looking_at_scores_and_seeds_keep_their_options():
    schedule = complete(9, repeats=3)
    drawn = [10, 4, 9, 2, 0]
    assert sources(schedule, {}, drawn) == (*range(9), 4, 2)
    scores = {Task(n, k): float(n) for n in range(9) for k in range(3)} | {Task(9, 2): 5.0, Task(10, 2): -1.0}
    assert repeated(schedule, scores) == (10, 0, 10)
    assert sources(schedule, scores, drawn) == (*range(9), 4, 2, 2, 0, 2)


def test_sizes_are_checked():
    with pytest.raises(RequestError, match="candidates"):
        Schedule(0, (10,))
    with pytest.raises(RequestError, match="eta"):
        Schedule(9, (10,), 0, 1)
    with pytest.raises(RequestError, match="steps"):
        Schedule(3, (10, 10))
    with pytest.raises(RequestError, match="steps"):
        Schedule(3, (1, 2, 3))
