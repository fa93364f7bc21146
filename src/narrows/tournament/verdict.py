"""Who wins: the cheapest of those that fresh rows and seeds do not tell apart from the best."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

__all__ = ["Entry", "Role", "Verdict", "decide"]


Role: TypeAlias = Literal["tournament", "random search", "baseline"]
"""How an entry came here."""


@dataclass(frozen=True)
class Entry:
    """A candidate or a baseline with its score on rows that the tournament never saw.

    Args:
        name: of the run, or of the baseline.
        says: the method with its options.
        role: how it came here.
        seeds: the score of each seed that it was trained with; lower is better.
        redrawn: the score of redrawn rows, the mean over seeds; the same draws for all entries.
        cost: seconds of a training: its steps at the recorded price of a step.
        steps: of its training; 0 for a baseline.
        details: further figures, means over seeds.
        parameters: of its model; 0 for a baseline.
    """

    name: str
    says: str
    role: Role
    seeds: tuple[float, ...]
    redrawn: tuple[float, ...]
    cost: float
    steps: int = 0
    details: Mapping[str, float] = field(default_factory=dict)
    parameters: int = 0

    @classmethod
    def of(
        cls,
        name: str,
        says: str,
        role: Role,
        forms: Sequence[Mapping[str, Any]],
        cost: float,
        parameters: int = 0,
    ) -> Entry:
        """The entry of recorded scores.

        Args:
            name: of the first run.
            says: the method.
            role: how it came here.
            forms: ``value``, ``redrawn``, ``details`` and for runs ``steps`` of each seed; those with other steps than
                the first are left out.
            cost: seconds of a training.
            parameters: of its model.
        """
        steps = forms[0].get("steps", 0)
        forms = [form for form in forms if form.get("steps", 0) == steps]
        redrawn = tuple(map(statistics.fmean, zip(*(form["redrawn"] for form in forms), strict=True)))
        details = {
            key: statistics.fmean(form["details"][key] for form in forms) for key in forms[0]["details"]
        }
        seeds = tuple(form["value"] for form in forms)
        return cls(name, says, role, seeds, redrawn, cost, steps, details, parameters)

    @property
    def value(self) -> float:
        """The score, the mean over seeds."""
        return statistics.fmean(self.seeds)

    @property
    def by_rows(self) -> float:
        """The standard deviation of the score over redrawn rows."""
        return _deviation(self.redrawn)


@dataclass(frozen=True)
class Verdict:
    """The outcome.

    Args:
        best: the entry with the best score.
        winner: the cheapest entry that is not told apart from it.
        level: the names of all entries that are not told apart from the best.
        seed_variance: of the scores of runs that differ in the seed alone; None if it is not known.
    """

    best: Entry
    winner: Entry
    level: tuple[str, ...]
    seed_variance: float | None = None

    def spread(self, entry: Entry) -> float:
        """The standard deviation of an entry's score, over redrawn rows and, where it is known, over seeds."""
        return math.sqrt(entry.by_rows**2 + _of_mean(entry, self.seed_variance))


def decide(entries: Sequence[Entry]) -> Verdict | None:
    r"""The cheapest entry whose score rows and seeds do not tell apart from the best.

    .. math::

        s_i - s_{best} \le 2 \sqrt{\mathrm{var}_b (s_i^{(b)} - s_{best}^{(b)}) + v / J_i + v / J_{best}}

    The superscript is a redraw of the rows, and scores are means over :math:`J_i` seeds. The variance v between seeds
    is pooled over all runs with several seeds, and 0 if there is none; a baseline has its own. An entry counts
    as told apart if a better one is. Entries of equal cost are ordered by score.

    Args:
        entries: those with a score.

    Returns:
        None if no score is finite.

    Example:
        >>> draws = (0.4, 0.6)
        >>> one = Entry("a", "a", "tournament", (0.5,), draws, 9.0)
        >>> other = Entry("b", "b", "baseline", (0.55,), (0.55, 0.55), 1.0)
        >>> decide([one, other]).winner.name
        'b'
    """
    held = [entry for entry in entries if math.isfinite(entry.value)]
    if not held:
        return None
    variance = _seed_variance([entry for entry in held if entry.role != "baseline"])
    best = min(held, key=lambda entry: (entry.value, entry.cost, entry.name))
    level = [entry for entry in held if entry is best or _level(entry, best, variance)]
    # a noisy score is hard to tell from the best; it is no reason to pass over a better one
    apart = min((entry.value for entry in held if entry not in level), default=math.inf)
    level = [entry for entry in level if entry.value <= apart]
    winner = min(level, key=lambda entry: (entry.cost, entry.value, entry.name))
    return Verdict(best, winner, tuple(entry.name for entry in level), variance)


def _level(entry: Entry, best: Entry, variance: float | None) -> bool:
    rows = _deviation([a - b for a, b in zip(entry.redrawn, best.redrawn, strict=True)])
    spread = math.sqrt(rows**2 + _of_mean(entry, variance) + _of_mean(best, variance))
    return entry.value - best.value <= 2 * spread


def _seed_variance(entries: Sequence[Entry]) -> float | None:
    """The variance between seeds, pooled; None if no entry has several."""
    squares = [(value - entry.value) ** 2 for entry in entries for value in entry.seeds]
    freedom = sum(len(entry.seeds) - 1 for entry in entries)
    return sum(squares) / freedom if freedom else None


def _of_mean(entry: Entry, variance: float | None) -> float:
    """The variance of an entry's mean over seeds."""
    if entry.role == "baseline":
        return statistics.variance(entry.seeds) / len(entry.seeds) if len(entry.seeds) > 1 else 0.0
    return (variance or 0.0) / len(entry.seeds)


def _deviation(values: Sequence[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return statistics.stdev(finite) if len(finite) > 1 else 0.0
