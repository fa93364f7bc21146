"""Who wins: the cheapest of those that fresh rows do not tell apart from the best."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["Entry", "Verdict", "decide"]


@dataclass(frozen=True)
class Entry:
    """A candidate or a baseline with its score on rows that the tournament never saw.

    Args:
        name: of the run, or of the baseline.
        says: the method with its options.
        role: how it came here.
        value: the score; lower is better.
        redrawn: the score of redrawn rows, the same draws for all entries.
        cost: seconds of its training: its steps at the recorded price of a step.
        steps: of its training; 0 for a baseline.
        details: further figures.
        parameters: of its model; 0 for a baseline.
    """

    name: str
    says: str
    role: Literal["tournament", "random search", "baseline"]
    value: float
    redrawn: tuple[float, ...]
    cost: float
    steps: int = 0
    details: Mapping[str, float] = field(default_factory=dict)
    parameters: int = 0

    @property
    def spread(self) -> float:
        """The standard deviation of the score over redrawn rows."""
        finite = [value for value in self.redrawn if math.isfinite(value)]
        return statistics.stdev(finite) if len(finite) > 1 else 0.0


@dataclass(frozen=True)
class Verdict:
    """The outcome.

    Args:
        best: the entry with the best score.
        winner: the cheapest entry that is not told apart from it.
        level: the names of all entries that are not told apart from the best.
    """

    best: Entry
    winner: Entry
    level: tuple[str, ...]


def decide(entries: Sequence[Entry]) -> Verdict | None:
    r"""The cheapest entry whose score is not told apart from the best by the same redrawn rows.

    .. math:: s_i - s_{best} \le 2\, \mathrm{sd}_b (s_i^{(b)} - s_{best}^{(b)})

    The superscript is a redraw of the rows. Entries of equal cost are ordered by score.

    Args:
        entries: those with a score.

    Returns:
        None if no score is finite.

    Example:
        >>> draws = (0.4, 0.6)
        >>> one = Entry("a", "a", "tournament", 0.5, draws, 9.0)
        >>> other = Entry("b", "b", "baseline", 0.55, (0.55, 0.55), 1.0)
        >>> decide([one, other]).winner.name
        'b'
    """
    held = [entry for entry in entries if math.isfinite(entry.value)]
    if not held:
        return None
    best = min(held, key=lambda entry: (entry.value, entry.cost, entry.name))
    level = [entry for entry in held if entry is best or _level(entry, best)]
    winner = min(level, key=lambda entry: (entry.cost, entry.value, entry.name))
    return Verdict(best, winner, tuple(entry.name for entry in level))


def _level(entry: Entry, best: Entry) -> bool:
    apart = [a - b for a, b in zip(entry.redrawn, best.redrawn, strict=True)]
    apart = [difference for difference in apart if math.isfinite(difference)]
    spread = statistics.stdev(apart) if len(apart) > 1 else 0.0
    return entry.value - best.value <= 2 * spread
