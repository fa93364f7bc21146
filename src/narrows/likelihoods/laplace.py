"""The Laplace likelihood of real values."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from narrows.core import Likelihood
from narrows.core.check import number
from narrows.likelihoods.normal import bounded

__all__ = ["Laplace"]


class Laplace(Likelihood):
    r"""Independent Laplace variables around the decoder's output, with one learned scale for all elements.

    .. math:: -\log p(x \mid m, s) = \sum_d \frac{|x_d - m_d|}{s} + \log 2 s

    The absolute error in nats, so that it can be weighed against a rate.

    Args:
        shape: shape of one target.
        scale: the initial scale s.

    Raises:
        RequestError: a number not above 0.

    Example:
        >>> Laplace((1,), scale=0.5).nll(torch.zeros(1, 1), torch.ones(1, 1)).round(decimals=3)
        tensor([2.], grad_fn=<RoundBackward1>)
    """

    def __init__(self, shape: tuple[int, ...], scale: float = 1.0) -> None:
        super().__init__(shape)
        self.log_scale = nn.Parameter(torch.tensor(math.log(number("scale", scale, low=1e-12))))

    def elements_nll(self, parameters: Tensor, x: Tensor) -> Tensor:
        """-log p of each element, (*samples, B, *shape)."""
        log_scale = bounded(self.log_scale)
        return (x - parameters).abs() * (-log_scale).exp() + log_scale + math.log(2)

    def mean(self, parameters: Tensor) -> Tensor:
        """The location, which is the median too."""
        return parameters

    def sample(self, parameters: Tensor) -> Tensor:
        """A draw."""
        return torch.distributions.Laplace(parameters, bounded(self.log_scale).exp()).sample()
