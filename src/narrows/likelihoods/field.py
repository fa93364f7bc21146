"""The likelihood of functions: white noise, with quadrature weights."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from narrows.core import Likelihood
from narrows.core.check import refuse

__all__ = ["FunctionGaussian"]


class FunctionGaussian(Likelihood):
    r"""A function observed in white noise, at any number of points.

    .. math:: -\log p(u \mid f) = \frac{1}{2 \sigma^2} \int (u(y) - f(y))^2 \, dy
              \approx \frac{1}{2 \sigma^2} \sum_q w_q (u(y_q) - f(y_q))^2

    The weights w are those of a quadrature, divided by their sum: the mean over the domain. So a function has
    the same nll on two grids, up to the error of the quadrature, and missing points are left out of the mean.
    With a plain sum, the balance of rate and distortion would depend on the grid. White noise in a function
    space has no density: this is -log p up to a constant of the data, and `relative` is the log-ratio to the
    noise alone.

    Args:
        shape: points and channels of one target, (Q, C); the number of points may vary.
        noise: standard deviation of the noise, sigma, in the units of the scaled data: directions in function
            space with a smaller standard deviation are not modelled.

    Raises:
        RequestError: `noise` is not above 0.

    Example:
        >>> nll, coarse, fine = FunctionGaussian((4, 1), 0.5).nll, torch.ones(1, 4, 1), torch.ones(1, 64, 1)
        >>> nll(torch.zeros(1, 4, 1), coarse), nll(torch.zeros(1, 64, 1), fine)
        (tensor([2.]), tensor([2.]))

    Reference:
        Seidman, Kissas, Pappas, Perdikaris, Variational Autoencoding Neural Operators, 2023. arXiv:2302.10351
    """

    unit = "nats but for a constant"

    def __init__(self, shape: tuple[int, ...], noise: float = 0.01) -> None:
        super().__init__(shape)
        if not 0 < noise < float("inf"):
            raise refuse("noise", noise, "a finite number above 0", "Try noise=0.01.")
        self.noise = float(noise)

    def nll(self, parameters: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """The weighed squared error in nats.

        Args:
            parameters: f at the points, (*samples, B, Q, C).
            target: u at the points, (B, Q, C).
            weight: quadrature weights, (B, Q) or broadcastable to (B, Q, C), 0 for missing points; uniform if
                None.
        """
        return self._mean(lambda f, u: (u - f).square(), parameters, target, weight) / (2 * self.noise**2)

    def mean(self, parameters: Tensor) -> Tensor:
        """f at the points, (*samples, B, Q, C)."""
        return parameters

    def sample(self, parameters: Tensor) -> Tensor:
        """f plus white noise in Q equal cells, with standard deviation sigma sqrt(Q)."""
        scale = self.noise * parameters.shape[-2] ** 0.5
        return parameters + scale * torch.randn_like(parameters)

    def _mean(
        self,
        term: Callable[[Tensor, Tensor], Tensor],
        parameters: Tensor,
        target: Tensor,
        weight: Tensor | None,
    ) -> Tensor:
        """The mean over the domain of a term of f and u, summed over channels, (*samples, B)."""
        if weight is None:
            return self.sum(term(parameters, target) / target.shape[-2])
        weight = weight.unsqueeze(-1) if weight.dim() < target.dim() else weight
        # Missing points are set to 0 before any product, so that no gradient is NaN.
        observed, zero = weight != 0, target.new_zeros(())
        terms = term(torch.where(observed, parameters, zero), torch.where(observed, target, zero))
        total = weight.sum(-2, keepdim=True)
        return self.sum(terms, weight / torch.where(total > 0, total, 1.0))
