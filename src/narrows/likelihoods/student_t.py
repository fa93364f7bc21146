"""Student's t likelihood, for real values with outliers."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from narrows.core import Likelihood
from narrows.core.check import number
from narrows.likelihoods.normal import bounded

__all__ = ["StudentT"]


class StudentT(Likelihood):
    r"""Independent Student's t around the decoder's output, with one learned scale for all elements.

    .. math:: -\log p(x \mid m, s) = \sum_d \Big[ \frac{\nu + 1}{2} \log\Big(1 + \frac{(x_d - m_d)^2}{\nu s^2}\Big)
        + \log s + \log \frac{\Gamma(\nu / 2) \sqrt{\nu \pi}}{\Gamma((\nu + 1) / 2)} \Big]

    The nll grows with the logarithm of a large residual, that of a Gaussian with its square.

    Args:
        shape: shape of one target.
        df: degrees of freedom, nu; the smaller, the heavier the tails.
        scale: the initial scale s.

    Raises:
        RequestError: a number not above 0.

    Example:
        >>> StudentT((1,), df=1.0).nll(torch.zeros(1, 1), torch.zeros(1, 1)).exp()
        tensor([3.1416], grad_fn=<ExpBackward0>)

    Reference:
        Takahashi et al., Student-t Variational Autoencoder for Robust Density Estimation, IJCAI 2018.
    """

    def __init__(self, shape: tuple[int, ...], df: float = 4.0, scale: float = 1.0) -> None:
        super().__init__(shape)
        self.df = number("df", df, low=1e-3)
        self.log_scale = nn.Parameter(torch.tensor(math.log(number("scale", scale, low=1e-12))))
        self.constant = (
            math.lgamma(self.df / 2) - math.lgamma((self.df + 1) / 2) + 0.5 * math.log(self.df * math.pi)
        )

    def elements_nll(self, parameters: Tensor, x: Tensor) -> Tensor:
        """-log p of each element, (*samples, B, *shape)."""
        log_scale = bounded(self.log_scale)
        squared = ((x - parameters) * (-log_scale).exp()).square()
        tails = 0.5 * (self.df + 1) * torch.log1p(squared / self.df)
        return tails + log_scale + self.constant

    def mean(self, parameters: Tensor) -> Tensor:
        """The location: the mean, or the median if `df` is at most 1."""
        return parameters

    def sample(self, parameters: Tensor) -> Tensor:
        """A draw."""
        standard = torch.distributions.StudentT(parameters.new_tensor(self.df))
        return parameters + bounded(self.log_scale).exp() * standard.sample(parameters.shape)
