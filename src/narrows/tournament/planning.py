"""How many candidates, and how many steps a rung has: a pure function of recorded scores, prices and seconds."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from narrows.tournament.policy import ETA, MOST, Schedule, Scores, Task, members, ready, repeated, sources

__all__ = [
    "LEAST",
    "SIZES",
    "Field",
    "Measured",
    "Price",
    "first_rung",
    "following",
    "longest_first",
    "needed",
    "prices_of",
]

LEAST = 100
"""Steps of the first rung at least; fewer say little about a method."""

SIZES = {27: 5000, 12: 5000, 9: 1000, 3: 0}
"""Numbers of candidates, which leave one in the last rung, and the steps that it should have; 5000 are the default
length of a training."""

_LONGER = 1.2
"""A rung has at least this multiple of the steps of the one before."""

_REPEATS = 2
"""Trainings with other seeds for which time is kept."""

_MOST_STEPS = 10**7


class Price(NamedTuple):
    """The seconds of a step, and those of a task besides its steps."""

    step: float
    task: float


class Measured(NamedTuple):
    """A price as a task has shown it, by the steps that were timed."""

    source: int
    steps: int
    price: Price


class Field(NamedTuple):
    """What does not change in a tournament.

    Args:
        drawn: the order in which random search draws candidates.
        workers: how many tasks run at once.
    """

    drawn: Sequence[int]
    workers: int


def prices_of(measured: Iterable[Measured]) -> dict[int, Price]:
    """The price of each candidate: that of the most steps that were timed; of equal numbers of steps, the dearest.

    The result does not depend on the order.

    Example:
        >>> prices_of([Measured(0, 30, Price(0.1, 1.0)), Measured(0, 200, Price(0.2, 1.5))])
        {0: Price(step=0.2, task=1.5)}
    """
    best: dict[int, Measured] = {}
    for one in measured:
        held = best.get(one.source)
        if held is None or one[1:] > held[1:]:
            best[one.source] = one
    return {source: one.price for source, one in sorted(best.items())}


def needed(schedule: Schedule, scores: Scores, prices: Mapping[int, Price], field: Field) -> float:
    """The seconds of all tasks without a score, if of those without one the dearest are promoted.

    Args:
        schedule: complete, or as far as it is planned.
        scores: recorded ones.
        prices: by candidate.
        field: of the tournament.

    Example:
        >>> needed(Schedule(3, (10, 30)), {}, {n: Price(1.0, 0.0) for n in range(3)}, Field((0, 1, 2), 1))
        80.0
    """
    known, now = dict(scores), 0.0
    running: list[tuple[float, Task]] = []
    while True:
        held = {task for _, task in running}
        owner = sources(schedule, known, field.drawn)
        for task, seconds in longest_first(schedule, known, prices, field).items():
            if task not in held and len(running) < field.workers:
                heapq.heappush(running, (now + seconds, task))
        if not running:
            return now
        now, task = heapq.heappop(running)
        known[task] = -prices[owner[task.candidate]].step


def longest_first(
    schedule: Schedule, scores: Scores, prices: Mapping[int, Price], field: Field
) -> dict[Task, float]:
    """The tasks that are ready, the longest first, with their seconds.

    Args:
        schedule: as far as it is planned.
        scores: recorded ones.
        prices: by candidate.
        field: of the tournament.

    Example:
        >>> longest_first(Schedule(3, (10,)), {Task(0, 0): 0.5}, {1: Price(1, 0), 2: Price(2, 0)}, Field((), 1))
        {Task(candidate=2, rung=0): 20, Task(candidate=1, rung=0): 10}
    """
    owner = sources(schedule, scores, field.drawn)
    held = [(task, prices[owner[task.candidate]]) for task in ready(schedule, scores)]
    timed = [(task, price.task + schedule.more(task) * price.step) for task, price in held]
    return dict(sorted(timed, key=lambda one: -one[1]))


def first_rung(
    prices: Sequence[Price], field: Field, seconds: float, least: int = LEAST
) -> tuple[Schedule | None, float]:
    """The first rung with the most candidates that leaves a long last one; and the least time for any.

    Its steps are the most for which all ends in time if each rung has three times the steps of the one before. The
    number of candidates is the largest whose last rung then has the steps in `SIZES`.

    Args:
        prices: of the candidates in their order; the first n of them take part.
        field: of the tournament.
        seconds: the time.
        least: the fewest steps.

    Returns:
        The schedule, None if none ends in time, and the seconds of the smallest one.

    Example:
        >>> first_rung([Price(0.01, 0.0)] * 9, Field(range(9), 1), 80.0)[0]
        Schedule(candidates=9, steps=(140,), repeats=0, eta=3)
        >>> first_rung([Price(0.01, 0.0)] * 3, Field(range(3), 1), 1.0)
        (None, 14.0)
    """
    held = dict(enumerate(prices))

    def seconds_of(n: int, first: int) -> float:
        return needed(_filled(Schedule(n, (first,)), ETA, _REPEATS), {}, held, field)

    known = [n for n in SIZES if n <= len(prices)]
    for n in known:

        def fits(first: int, n: int = n) -> bool:
            return seconds_of(n, first) <= seconds

        steps = _longest(fits, least)
        schedule = Schedule(n, (steps or least,))
        if steps and steps * ETA**schedule.last >= SIZES[n]:
            return schedule, seconds_of(known[-1], least)
    return None, seconds_of(known[-1], least)


def following(
    schedule: Schedule, scores: Scores, prices: Mapping[int, Price], field: Field, seconds: float
) -> Schedule | None:
    """What is planned when all planned tasks have scores: the next rung, or more trainings with other seeds.

    The steps of the rungs that are left grow by one factor, the largest for which all ends in time, with two trainings
    with other seeds, or without them if only then the factor is at least 1.2.

    Args:
        schedule: as far as it is planned.
        scores: of all of its tasks.
        prices: by candidate.
        field: of the tournament.
        seconds: the time that is left.

    Returns:
        The schedule with what was added; None if nothing ends in time, or nothing is left to do.

    Example:
        >>> scores = {Task(0, 0): 0.5, Task(1, 0): 0.2, Task(2, 0): 0.9}
        >>> prices, field = {n: Price(0.1, 0.0) for n in range(3)}, Field(range(3), 1)
        >>> following(Schedule(3, (10,)), scores, prices, field, 15.0)
        Schedule(candidates=3, steps=(10, 40), repeats=0, eta=3)
        >>> following(Schedule(3, (10,)), scores, prices, field, 1.0) is None
        True
    """
    if schedule.complete:
        most = len(repeated(replace(schedule, repeats=MOST), scores))
        options = (replace(schedule, repeats=n) for n in range(most, schedule.repeats, -1))
        return next((one for one in options if needed(one, scores, prices, field) <= seconds), None)
    if not members(schedule, scores, len(schedule.steps)):
        return None
    before = schedule.steps[-1]

    def with_rung(steps: int) -> Schedule:
        return replace(schedule, steps=(*schedule.steps, steps))

    for repeats in (_REPEATS, 0):

        def fits(steps: int, repeats: int = repeats) -> bool:
            whole = _filled(with_rung(steps), steps / before, repeats)
            return needed(whole, scores, prices, field) <= seconds

        steps = _longest(fits, int(_LONGER * before) + 1)
        if steps:
            return with_rung(steps)
    return None


def _filled(schedule: Schedule, factor: float, repeats: int) -> Schedule:
    """A schedule to its end, each further rung with a multiple of the steps of the one before."""
    steps = list(schedule.steps)
    while len(steps) <= schedule.last:
        steps.append(max(steps[-1] + 1, int(steps[-1] * factor)))
    return replace(schedule, steps=tuple(steps), repeats=repeats)


def _longest(fits: Callable[[int], bool], least: int) -> int:
    """The most steps that fit, rounded down to three digits; 0 if `least` does not fit."""
    if not fits(least):
        return 0
    low, high = least, 2 * least
    while fits(high) and high < _MOST_STEPS:
        low, high = high, 2 * high
    while high - low > max(1, low // 200):
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return max(least, _three_digits(low))


def _three_digits(number: int) -> int:
    """A number rounded down to three digits."""
    unit = 10 ** max(0, len(str(number)) - 3)
    return number // unit * unit
