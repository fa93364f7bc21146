"""Successive halving as a pure function of recorded scores: what is trained next, and how far.

Nothing here reads a clock, a file or a random number. The same scores give the same decisions, in whatever order they
arrive and whatever trains the candidates.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias, TypeVar

from narrows.core.check import whole

__all__ = [
    "Price",
    "Rung",
    "Schedule",
    "Scores",
    "Task",
    "makespan",
    "members",
    "plan",
    "ready",
    "with_search",
]

T = TypeVar("T")

ETA = 3
"""Of the candidates of a rung, one in `ETA` is promoted, and trained `ETA` times as long."""

_MOST = 10**7

LEAST = 100
"""Steps of the first rung at least; fewer say little about a method."""

SIZES = (27, 12, 9, 3)
"""Numbers of candidates, which leave one in the last rung."""

LONG = (5000, 1000, 0)
"""Steps of the last rung: as many candidates as leave the first of these, in less time the second, then any number."""


class Task(NamedTuple):
    """A candidate, trained as far as a rung."""

    candidate: int
    rung: int


Scores: TypeAlias = Mapping[Task, float]
"""The recorded scores; lower is better, infinite for a training that failed."""


class Rung(NamedTuple):
    """How many candidates are trained for how many steps in total."""

    size: int
    steps: int


class Price(NamedTuple):
    """The seconds of a step, and those of a task besides its steps."""

    step: float
    task: float


@dataclass(frozen=True)
class Schedule:
    r"""Successive halving of n candidates, beside random search at equal cost.

    Rung k has :math:`\lfloor n / \eta^k \rfloor` candidates, which are trained for :math:`r \eta^k` steps in total.
    Random search draws some of the n candidates without looking at scores, and trains each as long as the last rung, in
    a run of its own. Their numbers are n, n + 1 ...

    Args:
        candidates: n.
        first: r, the steps of the first rung.
        eta: the factor.

    Example:
        >>> schedule = Schedule(9, 100)
        >>> schedule.rungs
        (Rung(size=9, steps=100), Rung(size=3, steps=300), Rung(size=1, steps=900))
        >>> schedule.cost, schedule.searched
        (2100, 2)

    Reference:
        Jamieson and Talwalkar, Non-stochastic Best Arm Identification and Hyperparameter Optimization, 2016.
        arXiv:1502.07943
    """

    candidates: int
    first: int
    eta: int = ETA

    def __post_init__(self) -> None:
        whole("candidates", self.candidates)
        whole("first", self.first)
        whole("eta", self.eta, low=2)

    @property
    def rungs(self) -> tuple[Rung, ...]:
        """The rungs, from the first."""
        found = [Rung(self.candidates, self.first)]
        while found[-1].size >= self.eta:
            found.append(Rung(found[-1].size // self.eta, found[-1].steps * self.eta))
        return tuple(found)

    def steps(self, rung: int) -> int:
        """Steps in total of a candidate that is trained as far as a rung; none below the first."""
        return 0 if rung < 0 else self.rungs[rung].steps

    @property
    def cost(self) -> int:
        """Steps of all rungs together; each continues the training of the one before."""
        return sum(rung.size * (rung.steps - self.steps(k - 1)) for k, rung in enumerate(self.rungs))

    @property
    def searched(self) -> int:
        """The number of candidates of random search, whose steps together are at most `cost`."""
        return self.cost // self.rungs[-1].steps

    @property
    def last(self) -> int:
        """The number of the last rung."""
        return len(self.rungs) - 1


def members(schedule: Schedule, scores: Scores, rung: int) -> tuple[int, ...] | None:
    """The candidates of a rung, the best of the rung before, in the order of their scores; None if one has none yet.

    Of equal scores the candidate with the smaller number is first.

    Example:
        >>> members(Schedule(3, 10), {Task(0, 0): 0.5, Task(1, 0): 0.2, Task(2, 0): 0.9}, 1)
        (1,)
    """
    if rung == 0:
        return tuple(range(schedule.candidates))
    before = members(schedule, scores, rung - 1)
    if before is None or any(Task(one, rung - 1) not in scores for one in before):
        return None
    order = sorted(before, key=lambda one: (_rank(scores[Task(one, rung - 1)]), one))
    alive = [one for one in order if _rank(scores[Task(one, rung - 1)]) < math.inf]
    return tuple(alive[: schedule.rungs[rung].size])


def ready(schedule: Schedule, scores: Scores) -> tuple[Task, ...]:
    """The tasks that have no score yet and need none of another; random search first, whose tasks are the longest.

    Example:
        >>> ready(Schedule(3, 10), {Task(0, 0): 0.5, Task(1, 0): 0.2})
        (Task(candidate=3, rung=1), Task(candidate=2, rung=0))
    """
    drawn = range(schedule.candidates, schedule.candidates + schedule.searched)
    found = [Task(one, schedule.last) for one in drawn]
    for rung in range(len(schedule.rungs)):
        held = members(schedule, scores, rung)
        if held is None:
            break
        found += [Task(one, rung) for one in sorted(held)]
    return tuple(task for task in found if task not in scores)


def makespan(schedule: Schedule, prices: Sequence[Price], workers: int) -> float:
    """The seconds that some workers need at most: if the dearest candidates are promoted.

    Args:
        schedule: the schedule.
        prices: of each candidate, with those of random search.
        workers: how many tasks run at once.

    Example:
        >>> makespan(Schedule(3, 10), [Price(1.0, 0.0)] * 4, 1)
        80.0
    """
    scores: dict[Task, float] = {}
    running: list[tuple[float, Task]] = []
    now = 0.0
    while True:
        held = {task for _, task in running}
        for task in ready(schedule, scores):
            if task not in held and len(running) < workers:
                more = schedule.steps(task.rung)
                if task.candidate < schedule.candidates:
                    more -= schedule.steps(task.rung - 1)
                price = prices[task.candidate]
                heapq.heappush(running, (now + price.task + more * price.step, task))
        if not running:
            return now
        now, task = heapq.heappop(running)
        scores[task] = -prices[task.candidate].step


def plan(
    prices: Sequence[Price], drawn: Sequence[int], seconds: float, workers: int, least: int = LEAST
) -> tuple[Schedule | None, float]:
    """The schedule with the most candidates that leaves a long last rung and ends in time; and the least time for any.

    With several numbers of candidates, the largest is taken whose last rung has 5000 steps, the default length of a
    training; if none has, the largest with 1000; else the largest at all.

    Args:
        prices: of the candidates in their order; the first n of them take part.
        drawn: the order in which random search draws candidates.
        seconds: the time.
        workers: how many tasks run at once.
        least: the fewest steps of the first rung.

    Returns:
        The schedule, None if none ends in time, and the seconds of the smallest one.

    Example:
        >>> plan([Price(0.01, 0.0)] * 9, range(9), 60.0, 1)[0]
        Schedule(candidates=9, first=150, eta=3)
        >>> plan([Price(0.01, 0.0)] * 9, range(9), 150.0, 1)[0]
        Schedule(candidates=3, first=1800, eta=3)
        >>> plan([Price(0.01, 0.0)] * 3, range(3), 1.0, 1)
        (None, 8.0)
    """

    def needed(n: int, first: int) -> float:
        schedule = Schedule(n, first)
        return makespan(schedule, with_search(schedule, prices, drawn), workers)

    def longest(n: int) -> int:
        """The most steps of the first rung in this time; 0 if it is fewer than `least`."""
        if needed(n, least) > seconds:
            return 0
        low, high = least, 2 * least
        while needed(n, high) <= seconds and high < _MOST:
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if needed(n, middle) <= seconds else (low, middle)
        return max(least, _two_digits(low))

    known = [n for n in SIZES if n <= len(prices)]
    found = [Schedule(n, first) for n in known if (first := longest(n))]
    chosen = (one for steps in LONG for one in found if one.rungs[-1].steps >= steps)
    return next(chosen, None), needed(known[-1], least)


def with_search(schedule: Schedule, held: Sequence[T], drawn: Sequence[int]) -> list[T]:
    """What belongs to each candidate, followed by that of the candidates of random search.

    Args:
        schedule: the schedule.
        held: by candidate, at least n of them.
        drawn: the order in which random search draws candidates; those from n on are passed over.
    """
    chosen = [one for one in drawn if one < schedule.candidates]
    return [*held[: schedule.candidates], *(held[one] for one in chosen[: schedule.searched])]


def _two_digits(number: int) -> int:
    """A number rounded down to two digits."""
    unit = 10 ** max(0, len(str(number)) - 2)
    return number // unit * unit


def _rank(score: float) -> float:
    return math.inf if math.isnan(score) else score
