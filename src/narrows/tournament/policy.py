"""Successive halving as a pure function of recorded scores: which trainings are ready.

Nothing here reads a clock, a file or a random number. The same scores give the same decisions, in whatever order they
arrive and whatever trains the candidates. How many steps a rung has is planned by `narrows.tournament.planning`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, TypeAlias

from narrows.core.check import refuse, whole

__all__ = ["MOST", "Schedule", "Scores", "Task", "finalists", "members", "ready", "repeated", "sources"]

ETA = 3
"""Of the candidates of a rung, one in `ETA` is promoted."""

_TWICE, _THRICE = 3, 2

MOST = _TWICE * _THRICE
"""Trainings with other seeds at most: two of each of the three best."""


class Task(NamedTuple):
    """A candidate, trained as far as a rung."""

    candidate: int
    rung: int


Scores: TypeAlias = Mapping[Task, float]
"""The recorded scores; lower is better, infinite for a training that failed."""


@dataclass(frozen=True)
class Schedule:
    r"""Successive halving of n candidates, beside random search at equal cost, as far as it is planned.

    Rung k has :math:`\lfloor n / \eta^k \rfloor` candidates, which are trained for :math:`r_k` steps in total. Random
    search draws some of the n candidates without looking at scores, and trains each as long as the last rung, in a run
    of its own. Their numbers are n, n + 1 ... The numbers that follow are the best of both, trained again with other
    seeds.

    Args:
        candidates: n.
        steps: :math:`r_0, r_1 ...` of the rungs that are planned.
        repeats: how many trainings with other seeds are planned.
        eta: :math:`\eta`.

    Raises:
        RequestError: steps do not increase, or are those of more rungs than there are.

    Example:
        >>> schedule = Schedule(9, (100, 300, 900))
        >>> schedule.sizes, schedule.cost, schedule.searched
        ((9, 3, 1), 2100, 2)

    Reference:
        Jamieson and Talwalkar, Non-stochastic Best Arm Identification and Hyperparameter Optimization, 2016.
        arXiv:1502.07943
    """

    candidates: int
    steps: tuple[int, ...]
    repeats: int = 0
    eta: int = ETA

    def __post_init__(self) -> None:
        whole("candidates", self.candidates)
        whole("eta", self.eta, low=2)
        rising = all(a < b for a, b in zip((0, *self.steps), self.steps))
        if not rising or len(self.steps) > len(self.sizes):
            raise refuse("steps", self.steps, f"at most {len(self.sizes)} increasing numbers")

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """The number of candidates of each rung, to the last one."""
        found = [self.candidates]
        while found[-1] >= self.eta:
            found.append(found[-1] // self.eta)
        return tuple(found)

    @property
    def last(self) -> int:
        """The number of the last rung."""
        return len(self.sizes) - 1

    @property
    def complete(self) -> bool:
        """Whether the last rung is planned."""
        return len(self.steps) > self.last

    def more(self, task: Task) -> int:
        """The steps that a task adds to those of the rung before."""
        continued = task.candidate < self.candidates and task.rung > 0
        return self.steps[task.rung] - (self.steps[task.rung - 1] if continued else 0)

    @cached_property
    def cost(self) -> int:
        """Steps of all planned rungs together; each continues the training of the one before."""
        return sum(self.sizes[k] * self.more(Task(0, k)) for k in range(len(self.steps)))

    @property
    def searched(self) -> int:
        """The number of candidates of random search, whose steps together are at most `cost`."""
        return self.cost // self.steps[-1] if self.complete else 0

    @property
    def trained(self) -> range:
        """The numbers of random search."""
        return range(self.candidates, self.candidates + self.searched)

    @property
    def again(self) -> range:
        """The numbers of the trainings with other seeds."""
        return range(self.trained.stop, self.trained.stop + self.repeats)


def members(schedule: Schedule, scores: Scores, rung: int) -> tuple[int, ...] | None:
    """The candidates of a rung, the best of the rung before, in the order of their scores; None if one has none yet.

    Of equal scores the candidate with the smaller number is first.

    Example:
        >>> members(Schedule(3, (10,)), {Task(0, 0): 0.5, Task(1, 0): 0.2, Task(2, 0): 0.9}, 1)
        (1,)
    """
    if rung == 0:
        return tuple(range(schedule.candidates))
    before = members(schedule, scores, rung - 1)
    if before is None:
        return None
    ranked = _ranked(scores, [Task(one, rung - 1) for one in before])
    return None if ranked is None else ranked[: schedule.sizes[rung]]


def finalists(schedule: Schedule, scores: Scores) -> tuple[int, ...] | None:
    """All that were trained to the end of a complete schedule, the best first; None if one has no score yet.

    Example:
        >>> scores = {Task(0, 0): 0.5, Task(1, 0): 0.2, Task(2, 0): 0.9, Task(1, 1): 0.2, Task(3, 1): 0.1}
        >>> finalists(Schedule(3, (10, 30)), scores)
        (3, 1)
    """
    held = members(schedule, scores, schedule.last) if schedule.complete else None
    return (
        None
        if held is None
        else _ranked(scores, [Task(n, schedule.last) for n in (*held, *schedule.trained)])
    )


def repeated(schedule: Schedule, scores: Scores) -> tuple[int, ...]:
    """Which of the finalists is trained again, for each number of `Schedule.again`.

    The two best, each twice, then the third, twice.

    Example:
        >>> scores = {Task(0, 0): 0.5, Task(1, 0): 0.2, Task(2, 0): 0.9, Task(1, 1): 0.2, Task(3, 1): 0.1}
        >>> repeated(Schedule(3, (10, 30), repeats=3), scores)
        (3, 1, 3)
    """
    best = (finalists(schedule, scores) or ())[:_TWICE]
    return (best[:2] * _THRICE + best[2:] * _THRICE)[: schedule.repeats]


def sources(schedule: Schedule, scores: Scores, drawn: Sequence[int]) -> tuple[int, ...]:
    """The candidate with the same options, for each number.

    Args:
        schedule: as far as it is planned.
        scores: recorded ones.
        drawn: the order in which random search draws candidates; those from n on are passed over.
    """
    n = schedule.candidates
    chosen = [one for one in drawn if one < n][: schedule.searched]
    found = (*range(n), *chosen)
    return (*found, *(found[one] for one in repeated(schedule, scores)))


def ready(schedule: Schedule, scores: Scores) -> tuple[Task, ...]:
    """The tasks that have no score yet and need none of another; random search first, whose tasks are the longest.

    Example:
        >>> ready(Schedule(3, (10, 30)), {Task(0, 0): 0.5, Task(1, 0): 0.2, Task(2, 0): 0.9})
        (Task(candidate=3, rung=1), Task(candidate=1, rung=1))
    """
    found: list[Task] = []
    for rung in range(len(schedule.steps)):
        held = members(schedule, scores, rung)
        if held is None:
            break
        drawn = schedule.trained if rung == schedule.last else ()
        found += [Task(one, rung) for one in (*drawn, *sorted(held))]
    known = repeated(schedule, scores)
    found += [Task(one, schedule.last) for one, _ in zip(schedule.again, known)]
    return tuple(task for task in found if task not in scores)


def _ranked(scores: Scores, tasks: Sequence[Task]) -> tuple[int, ...] | None:
    """The candidates of some tasks by their scores, without those that failed; None if one has no score yet."""
    if any(task not in scores for task in tasks):
        return None
    values = sorted((_rank(scores[task]), task.candidate) for task in tasks)
    return tuple(one for value, one in values if value < math.inf)


def _rank(score: float) -> float:
    return math.inf if math.isnan(score) else score
