"""The absolute error of real values."""

from __future__ import annotations

import torch
from torch import Tensor

from narrows.core import Likelihood

__all__ = ["Absolute"]


class Absolute(Likelihood):
    """The sum of absolute differences, without constants.

    ``nll = sum_d |x_d - m_d|``; up to a constant the nll of a Laplace distribution of scale 1, which `sample`
    draws from.

    Args:
        shape: shape of one target.

    Example:
        >>> Absolute((2,)).nll(torch.zeros(1, 2), torch.tensor([[3.0, -4.0]]))
        tensor([7.])
    """

    unit = "absolute error"

    def elements_nll(self, parameters: Tensor, x: Tensor) -> Tensor:
        """The absolute differences, (*samples, B, *shape)."""
        return (x - parameters).abs()

    def mean(self, parameters: Tensor) -> Tensor:
        """The parameters, which are the median too."""
        return parameters

    def sample(self, parameters: Tensor) -> Tensor:
        """A draw from a Laplace distribution of scale 1 around the parameters."""
        return torch.distributions.Laplace(parameters, 1.0).sample()
