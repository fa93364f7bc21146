"""Numbers with a density around a location: Gaussian and Student-t noise, with one learned scale per column."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from narrows.core import Spec
from narrows.core.check import number
from narrows.likelihoods.columns.head import Head, column_mean

__all__ = ["GaussianDensity", "StudentTDensity"]

_FLOOR = 1e-4
"""The minimum variance: a hundredth of a column's standard deviation, for standardised data.

A column with repeated values has no density; without a minimum it would dominate all others.
"""

_FASTER = 10.0
"""The factor by which the learning rate of log-variances exceeds that of the other parameters."""


class GaussianDensity(Head):
    r"""Gaussian noise with a learned variance per column.

    .. math:: -\log p(x) = \frac{(x - m)^2}{2 v} + \frac12 \log 2 \pi v

    A density: nats can be negative, and depend on the unit of the column.

    Args:
        columns: the specs of the columns.

    Example:
        >>> GaussianDensity([Spec(())]).nll(torch.zeros(1), torch.ones(1, 1)).detach()
        tensor([[1.4189]])
    """

    title = "Gaussian"

    def __init__(self, columns: Sequence[Spec]) -> None:
        super().__init__(columns)
        self.width = len(self.columns)
        self.tenth_log_variance = nn.Parameter(torch.zeros(self.width))

    @property
    def variance(self) -> Tensor:
        """The variance (or squared scale) of each column, (C,)."""
        return (_FASTER * self.tenth_log_variance).exp() + _FLOOR

    @torch.no_grad()
    def prepare(self, x: Tensor, observed: Tensor) -> Tensor:
        """The mean and variance of each column."""
        mean = column_mean(x, observed)
        variance = column_mean((x - mean).square(), observed)
        self.tenth_log_variance.copy_(variance.clamp_min(_FLOOR).log() / _FASTER)
        return mean

    def nll(self, parameters: Tensor, x: Tensor) -> Tensor:
        """-log of the density, (..., C)."""
        variance = self.variance
        return 0.5 * ((x - parameters).square() / variance + (2 * math.pi * variance).log())

    def expected(self, parameters: Tensor) -> Tensor:
        """The location."""
        return parameters

    def sample(self, parameters: Tensor) -> Tensor:
        """A draw."""
        return parameters + self.variance.sqrt() * torch.randn_like(parameters)

    def rsample(self, parameters: Tensor) -> Tensor:
        """A draw with its gradient."""
        return self.sample(parameters)


class StudentTDensity(GaussianDensity):
    """Student-t noise with a learned scale per column, which is robust to outliers.

    Args:
        columns: the specs of the columns.
        df: degrees of freedom; the smaller, the heavier the tails.

    Raises:
        RequestError: `df` of 1 or less, for which there is no mean to impute.

    Example:
        >>> StudentTDensity([Spec(())], df=3).nll(torch.zeros(1), torch.zeros(1, 1)).detach()
        tensor([[1.0009]])
    """

    title = "Student-t"

    def __init__(self, columns: Sequence[Spec], df: float = 4.0) -> None:
        super().__init__(columns)
        self.df = number("df", df, low=1.001)

    def nll(self, parameters: Tensor, x: Tensor) -> Tensor:
        """-log of the density, (..., C)."""
        variance = self.variance
        constant = math.lgamma(self.df / 2) - math.lgamma((self.df + 1) / 2)
        tail = (self.df + 1) / 2 * torch.log1p((x - parameters).square() / (self.df * variance))
        return constant + 0.5 * (math.pi * self.df * variance).log() + tail

    def sample(self, parameters: Tensor) -> Tensor:
        """A draw."""
        chi2 = torch.distributions.Chi2(torch.full_like(parameters, self.df))
        scale = (self.variance * self.df / chi2.sample()).sqrt()
        return parameters + scale * torch.randn_like(parameters)
