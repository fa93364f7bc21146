"""How far an estimate by importance sampling can be trusted: its standard error, effective sample size and Pareto k."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from narrows.core.check import refuse, whole

__all__ = ["Importance", "generalised_pareto", "pareto_k", "pareto_limit"]

_BLOCKS = 32
"""Largest number of blocks of a standard error."""

_FEWEST = 5
"""The least number of weights in a tail to which a Pareto distribution is fitted."""


@dataclass(frozen=True)
class Importance:
    r"""log p(x) of B examples from K weights each, whose mean is an unbiased estimate of p(x), or of 1 / p(x).

    .. math:: \log \hat p = \log \frac{1}{K} \sum_k w_k

    Args:
        log_weights: log w, (K, B), on the CPU in float64.
        inverse: the weights estimate 1 / p(x), so that log p(x) is overestimated on average, not underestimated.

    Example:
        >>> found = Importance(torch.log(torch.tensor([[1.0], [3.0]])))
        >>> found.log_p.exp(), found.effective
        (tensor([2.]), tensor([1.6000]))
    """

    log_weights: Tensor
    inverse: bool = False

    def __post_init__(self) -> None:
        if self.log_weights.ndim != 2 or len(self.log_weights) == 0:
            raise refuse("log_weights", tuple(self.log_weights.shape), "weights (K, B) with K of at least 1")

    @property
    def samples(self) -> int:
        """K, the number of weights of each example."""
        return len(self.log_weights)

    @property
    def log_p(self) -> Tensor:
        """The estimate of log p(x) in nats, (B,)."""
        found = self.log_weights.logsumexp(0) - math.log(self.samples)
        return -found if self.inverse else found

    @property
    def error(self) -> Tensor:
        r"""The standard error of `log_p`, (B,), by the delta method over blocks of weights; NaN for a single weight.

        .. math:: \mathrm{se}(\log \hat p) = \frac{1}{\hat p}
                  \sqrt{\frac{1}{K (M - 1)} \sum_{m=1}^M n_m (\bar w_m - \hat p)^2}

        with n_m weights of mean w_m in block m. It says nothing about weights that were never drawn: see `pareto_k`.
        """
        blocks = self._relative.tensor_split(min(self.samples, _BLOCKS))
        if len(blocks) < 2:
            return torch.full_like(self.log_p, torch.nan)
        sizes = self._relative.new_tensor([len(block) for block in blocks])[:, None]
        means = torch.stack([block.mean(0) for block in blocks])
        between = (sizes * (means - 1).square()).sum(0) / (len(blocks) - 1)
        return (between / self.samples).sqrt()

    @property
    def effective(self) -> Tensor:
        """The effective sample size, (sum w)^2 / sum w^2, from 1 to K, (B,)."""
        share = self.log_weights.softmax(0)
        return 1 / share.square().sum(0)

    @property
    def pareto_k(self) -> Tensor:
        """The shape of the upper tail of the weights, (B,): see `pareto_k`."""
        return pareto_k(self.log_weights)

    @property
    def _relative(self) -> Tensor:
        """The weights divided by their mean, (K, B)."""
        return self.log_weights.softmax(0) * self.samples


def pareto_limit(samples: int) -> float:
    r"""The largest Pareto k at which an estimate from K weights is reliable.

    .. math:: \min(1 - 1 / \log_{10} K,\; 0.7)

    Example:
        >>> pareto_limit(100), pareto_limit(10_000)
        (0.5, 0.7)

    Reference:
        Vehtari, Simpson, Gelman, Yao, Gabry, Pareto Smoothed Importance Sampling, 2024. arXiv:1507.02646
    """
    return min(1 - 1 / math.log10(whole("samples", samples, low=2)), 0.7)


def pareto_k(log_weights: Tensor) -> Tensor:
    r"""The shape k of a generalised Pareto distribution fitted to the largest weights of each example, (B,).

    The tail has the min(K / 5, 3 sqrt(K)) largest weights, less the next smaller one. With k below 1/2 the weights
    have a variance, with k below 1 a mean; above `pareto_limit` an estimate is not to be trusted.

    Args:
        log_weights: (K, B).

    Returns:
        k of each example; NaN with fewer than 25 weights, and where all weights of the tail are equal.

    Example:
        >>> from narrows.core import seeded
        >>> with seeded(0):
        ...     weights = torch.distributions.Pareto(1.0, 2.0).sample((20_000, 1))  # k = 1/2
        >>> bool((pareto_k(weights.log()) - 0.5).abs() < 0.1)
        True

    Reference:
        Vehtari, Simpson, Gelman, Yao, Gabry, Pareto Smoothed Importance Sampling, 2024. arXiv:1507.02646
    """
    samples = len(log_weights)
    tail = int(min(0.2 * samples, 3 * math.sqrt(samples)))
    if tail < _FEWEST:
        return torch.full(log_weights.shape[1:], torch.nan, dtype=torch.double)
    ordered = log_weights.double().sort(0).values
    relative = (ordered[-tail - 1 :] - ordered[-1]).exp()
    return torch.stack([_shape_of(column) for column in (relative[1:] - relative[0]).T])


def _shape_of(excess: Tensor) -> Tensor:
    """k of one tail, with the weak prior of the paper: ten observations of k = 1/2."""
    n = len(excess)
    if not bool(excess[-1] > excess[0]) or not bool(excess[n // 4] > 0):
        return excess.new_tensor(torch.nan)
    shape, _ = generalised_pareto(excess)
    return (n * shape + 10 * 0.5) / (n + 10)


def generalised_pareto(excess: Tensor) -> tuple[Tensor, Tensor]:
    r"""Shape k and scale s of a generalised Pareto distribution, fitted to excesses over a threshold.

    .. math:: p(y) = \frac{1}{s} \left(1 + \frac{k y}{s}\right)^{-1/k - 1}

    The estimate is the posterior mean of b = -k / s under a prior that depends on the data weakly, on a grid.

    Args:
        excess: sorted numbers of at least 0, (n,), in float64.

    Reference:
        Zhang and Stephens, A New and Efficient Estimation Method for the Generalized Pareto Distribution, 2009.
        doi:10.1198/tech.2009.08017
    """
    n = len(excess)
    points = 30 + int(math.sqrt(n))
    quartile = excess[int(n / 4 + 0.5) - 1]
    rank = torch.arange(1, points + 1, dtype=torch.double)
    grid = 1 / excess[-1] + (1 - (points / (rank - 0.5)).sqrt()) / (3 * quartile)
    shapes = torch.log1p(-grid[:, None] * excess).mean(1)
    profile = n * ((-grid / shapes).log() - shapes - 1)
    b = (grid * profile.softmax(0)).sum()
    shape = torch.log1p(-b * excess).mean()
    return shape, -shape / b
