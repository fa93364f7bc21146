"""The likelihood of a function: white noise, weighed by quadrature."""

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

    The weights w are those of a quadrature, divided by their sum: the mean over the domain. So the same function costs
    the same on two grids, up to the error of the quadrature, and points that are missing are left out of the mean. A
    bare sum would make the balance of rate and distortion depend on the grid. White noise in a function space has no
    density: this is -log p up to a constant of the data, and `relative` is the log-ratio to the noise alone.

    Args:
        shape: points and channels of one target, (Q, C); other numbers of points are welcome.
        noise: sigma, the noise's standard deviation in the units of the scaled data: a direction in function space
            whose standard deviation is below it is left out.

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
            target: u there, (B, Q, C).
            weight: quadrature weights, (B, Q) or broadcastable to (B, Q, C), zero where no point is; equal when None.
        """
        return self._mean(lambda f, u: (u - f).square(), parameters, target, weight) / (2 * self.noise**2)

    def relative(self, parameters: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        r"""-log of the density of u against the noise alone, in nats, (*samples, B).

        .. math:: \frac{1}{\sigma^2} \left( \frac12 \int f^2 dy - \int f u \, dy \right)
        """
        return self._mean(lambda f, u: f * (0.5 * f - u), parameters, target, weight) / self.noise**2

    def mean(self, parameters: Tensor) -> Tensor:
        """f itself, (*samples, B, Q, C)."""
        return parameters

    def sample(self, parameters: Tensor) -> Tensor:
        """f and white noise in Q equal cells: each has the deviation sigma sqrt(Q), which grows with the resolution."""
        scale = self.noise * parameters.shape[-2] ** 0.5
        return parameters + scale * torch.randn_like(parameters)

    def _mean(
        self,
        term: Callable[[Tensor, Tensor], Tensor],
        parameters: Tensor,
        target: Tensor,
        weight: Tensor | None,
    ) -> Tensor:
        """The sum over channels of the mean over the domain of a term of f and u, (*samples, B)."""
        if weight is None:
            return self.sum(term(parameters, target) / target.shape[-2])
        weight = weight.unsqueeze(-1) if weight.dim() < target.dim() else weight
        there, zero = (
            weight != 0,
            target.new_zeros(()),
        )  # zeros before any product, so that no gradient is NaN
        terms = term(torch.where(there, parameters, zero), torch.where(there, target, zero))
        total = weight.sum(-2, keepdim=True)
        return self.sum(terms, weight / torch.where(total > 0, total, 1.0))
