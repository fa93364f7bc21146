"""Spreads of a figure, and when the figures of two models or methods are told apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Estimate", "apart", "mean_and_sd"]


def mean_and_sd(values: Sequence[float]) -> tuple[float, float | None]:
    """The mean and the standard deviation (n - 1) of numbers; no standard deviation of one number.

    Example:
        >>> mean_and_sd([1.0, 3.0]), mean_and_sd([2.0])
        ((2.0, 1.4142135623730951), (2.0, None))
    """
    mean = math.fsum(values) / len(values)
    if len(values) < 2:
        return mean, None
    return mean, math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1))


@dataclass(frozen=True)
class Estimate:
    r"""A figure of a group of runs that are equal but for the seed, with its two spreads.

    The *training* spread is the standard deviation of the figure over the runs, the *evaluation* spread that over
    repeated evaluations of one run with other tokens and splits (the root mean square over the runs). They are not
    added: the values of the runs already vary with the evaluation where it differs between them.

    .. math:: s = \max(s_{training}, s_{evaluation})

    Args:
        values: the figure of each run.
        spreads: the evaluation spread of each run, those that are known.

    Example:
        >>> one = Estimate((0.1, 0.3), (0.02,))
        >>> one.mean, round(one.training, 3), one.evaluation, round(one.spread, 3)
        (0.2, 0.141, 0.02, 0.141)
    """

    values: tuple[float, ...]
    spreads: tuple[float, ...] = ()

    @property
    def mean(self) -> float:
        """The mean over the runs."""
        return mean_and_sd(self.values)[0]

    @property
    def training(self) -> float | None:
        """The standard deviation over the runs; None for one run."""
        return mean_and_sd(self.values)[1]

    @property
    def evaluation(self) -> float | None:
        """The evaluation spread of a run; None if it is not known."""
        if not self.spreads:
            return None
        return math.sqrt(math.fsum(s * s for s in self.spreads) / len(self.spreads))

    @property
    def spread(self) -> float | None:
        """The larger of the two; None if neither is known."""
        return max((s for s in (self.training, self.evaluation) if s is not None), default=None)


def apart(a: Estimate, b: Estimate) -> bool | None:
    r"""Whether two figures are told apart; None if the spread of one of them is not known.

    .. math:: |\bar a - \bar b| > 2 \sqrt{s_a^2 + s_b^2}

    Each spread is the larger of the training and the evaluation spread. The spread is that of a run, not of the mean
    over n runs: two figures that are told apart would be so for most single runs, too. If training spreads are not
    known, the statement is about these models, not about their methods.

    Example:
        >>> apart(Estimate((0.10, 0.12)), Estimate((0.20, 0.22))), apart(Estimate((0.1,)), Estimate((0.2,)))
        (True, None)
    """
    if a.spread is None or b.spread is None:
        return None
    return abs(a.mean - b.mean) > 2 * math.hypot(a.spread, b.spread)
