"""Numbers with a density around a location: Gaussian and Student-t noise, and normals whose variance is predicted."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from narrows.core import Spec
from narrows.core.check import number
from narrows.likelihoods.columns.head import Head, column_mean

__all__ = ["GaussianDensity", "LogNormalDensity", "NormalDensity", "StudentTDensity"]

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


class NormalDensity(Head):
    r"""Normal distributions whose mean m and log-variance are both predicted for each cell.

    .. math:: -\log p(x) = \frac{(x - m)^2}{2 v} + \frac12 \log 2 \pi v

    A density: nats can be negative, and depend on the unit of the column. The variance is at least 1e-4.

    Args:
        columns: the specs of the columns.

    Example:
        >>> NormalDensity([Spec(())]).nll(torch.tensor([0.0, 0.0]), torch.ones(1, 1)).round(decimals=3)
        tensor([[1.4190]])

    Reference:
        Nazabal et al., Handling Incomplete Heterogeneous Data using VAEs, 2020. arXiv:1807.03653
    """

    title = "normal"

    def __init__(self, columns: Sequence[Spec]) -> None:
        super().__init__(columns)
        self.width = 2 * len(self.columns)

    def seen(self, x: Tensor) -> Tensor:
        """Values as the normal distribution sees them."""
        return x

    def unseen(self, y: Tensor) -> Tensor:
        """The inverse of `seen`."""
        return y

    def split(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Means and variances, each (..., C)."""
        mean, log_variance = parameters.chunk(2, -1)
        return mean, log_variance.clamp(-20, 10).exp() + _FLOOR

    @torch.no_grad()
    def prepare(self, x: Tensor, observed: Tensor) -> Tensor:
        """The mean and the log-variance of each column."""
        y = self.seen(x)
        mean = column_mean(y, observed)
        return torch.cat([mean, column_mean((y - mean).square(), observed).clamp_min(_FLOOR).log()])

    def nll(self, parameters: Tensor, x: Tensor) -> Tensor:
        """-log of the density, (..., C)."""
        mean, variance = self.split(parameters)
        return 0.5 * ((self.seen(x) - mean).square() / variance + (2 * math.pi * variance).log())

    def expected(self, parameters: Tensor) -> Tensor:
        """The mean."""
        return self.split(parameters)[0]

    def sample(self, parameters: Tensor) -> Tensor:
        """A draw."""
        mean, variance = self.split(parameters)
        return self.unseen(mean + variance.sqrt() * torch.randn_like(mean))

    def rsample(self, parameters: Tensor) -> Tensor:
        """A draw with its gradient."""
        return self.sample(parameters)


class LogNormalDensity(NormalDensity):
    r"""Normal distributions of log(1 + x), for numbers from 0 with a long tail.

    .. math:: -\log p(x) = -\log N(\log(1 + x);\, m, v) + \log(1 + x)

    Args:
        columns: the specs of the columns.

    Example:
        >>> LogNormalDensity([Spec((), "positive")]).expected(torch.tensor([0.0, -20.0])).round(decimals=3)
        tensor([0.])

    Reference:
        Nazabal et al., Handling Incomplete Heterogeneous Data using VAEs, 2020. arXiv:1807.03653
    """

    title = "log-normal"

    def seen(self, x: Tensor) -> Tensor:
        """log(1 + x)."""
        return x.clamp_min(0).log1p()

    def unseen(self, y: Tensor) -> Tensor:
        """The inverse of `seen`, at least 0."""
        return torch.expm1(y.clamp(0, 80))

    def nll(self, parameters: Tensor, x: Tensor) -> Tensor:
        """-log of the density of x, (..., C)."""
        return super().nll(parameters, x) + self.seen(x)

    def expected(self, parameters: Tensor) -> Tensor:
        """The mean of x: exp(m + v / 2) - 1."""
        mean, variance = self.split(parameters)
        return torch.expm1((mean + variance / 2).clamp(0, 80))
