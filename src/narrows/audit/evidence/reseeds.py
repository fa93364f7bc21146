"""The spread of a figure over repeated evaluations of the same model, each with other examples and splits."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from narrows.core import seeded
from narrows.core.check import refuse, whole

__all__ = ["RESEEDS", "Reseeded", "drawn_once", "of_all", "redrawn", "reseed", "spread", "spread_of_parts"]

RESEEDS = 5
"""The number of evaluations that a spread rests on."""


@dataclass(frozen=True)
class Reseeded:
    """A figure over several seeds of its evaluation.

    Args:
        values: the figure for each seed.
    """

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The mean over the seeds."""
        return statistics.fmean(self.values)

    @property
    def spread(self) -> float:
        """The standard deviation over the seeds (of a sample: divided by their number less 1)."""
        finite = all(math.isfinite(value) for value in self.values)
        return statistics.stdev(self.values) if finite else math.nan


def reseed(
    measure: Callable[[int], Mapping[str, float]], seed: int, times: int = RESEEDS
) -> dict[str, Reseeded]:
    """Evaluate the same figures with several seeds.

    Args:
        measure: from a seed to figures by name. It draws its tokens, its examples and its splits with this seed; the
            global generators are seeded with it too, and restored afterwards.
        seed: of the audit; other seeds of the audit give other seeds here.
        times: number of evaluations.

    Returns:
        Each figure with its values, mean and standard deviation.

    Raises:
        RequestError: fewer than two evaluations, or figures whose names differ between seeds.

    Example:
        >>> found = reseed(lambda seed: {"mean": float(torch.randn(100).mean())}, seed=0)
        >>> len(found["mean"].values), found["mean"].spread < 0.3
        (5, True)
    """
    whole("times", times, low=2)
    found: list[Mapping[str, float]] = []
    for number in range(times):
        one = seed * 1000 + number
        with seeded(one):
            found.append(measure(one))
    names = list(found[0])
    if any(set(figures) != set(names) for figures in found):
        raise refuse("measure", sorted(names), "a function that returns the same figures for every seed")
    return {name: Reseeded(tuple(float(figures[name]) for figures in found)) for name in names}


def redrawn(count: int, seed: int) -> Tensor:
    """As many row numbers as there are rows, drawn with replacement, (count,).

    A figure of redrawn rows varies as it does between samples of this size of a larger population (the bootstrap), so
    that the rows at hand are enough. Rows that depend on each other (tokens of one context) are redrawn together.
    """
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(count, (count,), generator=generator)


def drawn_once(count: int, seed: int, most: int) -> Tensor:
    """At most half of the row numbers, each once, for figures that fit to some rows and measure on others."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randperm(count, generator=generator)[: min(count // 2, most)]


def of_all(spread: float, drawn: int, count: int) -> float:
    r"""The spread over samples of all rows, from that over random parts of them.

    .. math:: s_n = s_m \sqrt{\frac{m}{n - m}}, \qquad \text{since}\quad s_m^2 = \frac{s^2}{m} (1 - \frac{m}{n})

    for m of n rows drawn without replacement, as it is for a mean.

    Args:
        spread: over parts of `drawn` rows.
        drawn: m.
        count: n.

    Example:
        >>> of_all(0.3, 50, 100), round(of_all(0.3, 10, 100), 3)
        (0.3, 0.1)
    """
    return spread * math.sqrt(drawn / (count - drawn))


def spread(figure: Callable[[Tensor], float], count: int, seed: int) -> float | None:
    """The standard deviation of a figure of `count` rows over `RESEEDS` redraws of the rows; None below two rows.

    Args:
        figure: from row numbers, with repetitions, to the figure.
        count: number of rows.
        seed: of the audit.

    Example:
        >>> x = torch.randn(400)
        >>> 0.01 < spread(lambda rows: float(x[rows].mean()), 400, seed=0) < 0.15
        True
    """
    if count < 2:
        return None
    found = reseed(lambda one: {"": figure(redrawn(count, one))}, seed)[""].spread
    return None if math.isnan(found) else found


def spread_of_parts(figure: Callable[[Tensor], float], count: int, seed: int) -> float | None:
    r"""The standard deviation of a figure of extreme rows over `RESEEDS` random parts; None below two rows a part.

    Redrawn rows hardly change a maximum: those of the bootstrap are never larger. For parts of n rows whose values
    have an exponential tail, the variance of the maximum does not depend on n,

    .. math:: \mathrm{Var} \max_{i \le n} x_i = \beta^2 \sum_{i \le n} i^{-2} \to \beta^2 \pi^2 / 6

    so that of a fifth of the rows is that of all.

    Args:
        figure: from row numbers, each once, to the figure.
        count: number of rows.
        seed: of the audit.

    Example:
        >>> x = -torch.rand(4000, generator=torch.Generator().manual_seed(0)).log()
        >>> 0.4 < spread_of_parts(lambda rows: float(x[rows].max()), 4000, seed=0) < 3
        True
    """
    if count < 2 * RESEEDS:
        return None
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    found = Reseeded(tuple(figure(part) for part in order.tensor_split(RESEEDS))).spread
    return None if math.isnan(found) else found
