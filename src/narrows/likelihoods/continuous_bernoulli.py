"""The continuous Bernoulli likelihood of values between 0 and 1."""

from __future__ import annotations

import torch
from torch import Tensor

from narrows.core import Likelihood
from narrows.kernels.sinh import log_sinhc

__all__ = ["ContinuousBernoulli"]

_SMALL = 0.5
"""Below, the mean is a series in the logit, since the difference of large numbers loses digits."""
_LEAST = 1e-6
"""The smallest logit of a draw, which is uniform at 0."""


class ContinuousBernoulli(Likelihood):
    r"""Independent densities on [0, 1] that are exponential in x, with logits l from the decoder.

    .. math:: p(x \mid l) = \frac{l}{e^l - 1}\, e^{l x}

    The binary cross-entropy with the constant that it lacks as a density of real values. It is exact for all logits,
    where `torch.distributions.ContinuousBernoulli` stops at 16.

    Args:
        shape: shape of one target.

    Example:
        >>> ContinuousBernoulli((1,)).nll(torch.zeros(1, 1), torch.tensor([[0.3]])).abs() < 1e-6
        tensor([True])

    Reference:
        Loaiza-Ganem and Cunningham, The Continuous Bernoulli: Fixing a Pervasive Error in Variational
        Autoencoders, 2019. arXiv:1907.06845
    """

    def elements_nll(self, parameters: Tensor, x: Tensor) -> Tensor:
        """-log p of each element, (*samples, B, *shape)."""
        return log_sinhc(0.5 * parameters.abs()) - parameters * (x - 0.5)

    def mean(self, parameters: Tensor) -> Tensor:
        """The means, 1 / (1 - e^-l) - 1 / l."""
        near = parameters.clamp(-_SMALL, _SMALL)
        square, small = near.square(), parameters.abs() < _SMALL
        series = near * (1 / 12 - square * (1 / 720 - square / 30240))
        large = torch.where(small, _SMALL, parameters)
        return 0.5 + torch.where(small, series, 0.5 / (0.5 * large).tanh() - 1 / large)

    def sample(self, parameters: Tensor) -> Tensor:
        """A draw, by the inverse of the distribution function of -|l|."""
        rate = parameters.abs().clamp_min(_LEAST)
        drawn = -torch.log1p(torch.rand_like(rate) * torch.expm1(-rate)) / rate
        return torch.where(parameters > 0, 1 - drawn, drawn)
