"""Gaussian likelihoods of real values, and the squared error."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from narrows.core import Likelihood
from narrows.core.check import choice, number, refuse

__all__ = ["LOG_VARIANCE", "Gaussian", "Squared", "bounded"]


LOG_VARIANCE = (-14.0, 14.0)
"""The range of log-variances: standard deviations from 0.0009 to 1097."""


def bounded(log_variance: Tensor, low: float = LOG_VARIANCE[0], high: float = LOG_VARIANCE[1]) -> Tensor:
    """Bound a log-variance to (low, high) smoothly, with a nonzero gradient near both ends.

    Example:
        >>> bounded(torch.tensor([-1e3, 0.0, 1e3])).round(decimals=3)
        tensor([-14.,   0.,  14.])
    """
    return high - F.softplus(high - low - F.softplus(log_variance - low))


class Squared(Likelihood):
    """The sum of squared differences, without constants, which many papers minimise.

    ``nll = sum_d (x_d - m_d)^2``; up to a constant the nll of a Gaussian of variance 1/2, which `sample`
    draws from.

    Args:
        shape: shape of one target.
        sigmoid: the means m are the sigmoid of the parameters, for values from 0 to 1.

    Example:
        >>> Squared((2,)).nll(torch.zeros(1, 2), torch.tensor([[3.0, 4.0]]))
        tensor([25.])
        >>> Squared((2,), sigmoid=True).mean(torch.zeros(1, 2))
        tensor([[0.5000, 0.5000]])
    """

    splits = ()
    unit = "squared error"

    def __init__(self, shape: tuple[int, ...], sigmoid: bool = False) -> None:
        super().__init__(shape)
        self.sigmoid = sigmoid

    def elements_nll(self, parameters: Tensor, x: Tensor) -> Tensor:
        """The squared differences, (*samples, B, *shape)."""
        return (x - self.mean(parameters)).square()

    def mean(self, parameters: Tensor) -> Tensor:
        """The parameters themselves, or their sigmoid."""
        return parameters.sigmoid() if self.sigmoid else parameters

    def sample(self, parameters: Tensor) -> Tensor:
        """A draw from a Gaussian of variance 1/2 around the mean."""
        mean = self.mean(parameters)
        return mean + math.sqrt(0.5) * torch.randn_like(mean)


class Gaussian(Likelihood):
    r"""Independent Gaussians.

    ``-log p(x | m, v) = 1/2 sum_d [(x_d - m_d)^2 / v_d + log v_d + log 2 pi]``.

    Args:
        shape: shape of one target.
        variance: ``fixed`` at `value`; ``shared``, one learned variance for all elements, which calibrates
            the weight of the distortion against the rate (sigma-VAE); ``learned``, an output of the decoder
            per element.
        value: the fixed variance, or the initial shared one.

    Raises:
        RequestError: an unknown `variance`, or a `value` not above 0.

    Example:
        >>> Gaussian((1,), "fixed").nll(torch.zeros(1, 1), torch.ones(1, 1))
        tensor([1.4189])

    Reference:
        Rybkin, Daniilidis, Levine: Simple and Effective VAE Training with Calibrated Decoders, 2021.
    """

    log_variance: Tensor

    def __init__(
        self,
        shape: tuple[int, ...],
        variance: Literal["fixed", "shared", "learned"] = "shared",
        value: float = 1.0,
    ) -> None:
        super().__init__(shape)
        self.variance = choice("variance", variance, ("fixed", "shared", "learned"))
        if number("value", value) <= 0:
            raise refuse("value", value, "a variance above 0")
        self.channels = 2 if variance == "learned" else 1
        start = torch.tensor(math.log(value))
        if variance == "shared":
            self.log_variance = nn.Parameter(start)
        elif variance == "fixed":
            self.register_buffer("log_variance", start)

    def split(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """The mean and the log-variance, the latter broadcastable to the former."""
        if self.variance == "learned":
            mean, log_variance = parameters.chunk(2, -len(self.shape))
            return mean, bounded(log_variance)
        return parameters, bounded(self.log_variance)

    def nll(self, parameters: Tensor, x: Tensor, weight: Tensor | None = None) -> Tensor:
        """-log N(x; mean, variance), (*samples, B)."""
        mean, log_variance = self.split(parameters)
        if weight is None and log_variance.dim() == 0:  # constants are added once, not per element
            squares = self.sum((x - mean).square())
            return 0.5 * (
                squares * (-log_variance).exp() + self._size * (log_variance + math.log(2 * math.pi))
            )
        return super().nll(parameters, x, weight)

    def elements_nll(self, parameters: Tensor, x: Tensor) -> Tensor:
        """-log N(x_d; mean, variance), (*samples, B, *shape)."""
        mean, log_variance = self.split(parameters)
        return 0.5 * ((x - mean).square() * (-log_variance).exp() + log_variance + math.log(2 * math.pi))

    def mean(self, parameters: Tensor) -> Tensor:
        """The mean."""
        return self.split(parameters)[0]

    def sample(self, parameters: Tensor) -> Tensor:
        """A draw."""
        mean, log_variance = self.split(parameters)
        return mean + (0.5 * log_variance).exp() * torch.randn_like(mean)

    @property
    def _size(self) -> int:
        return math.prod(self.shape)
