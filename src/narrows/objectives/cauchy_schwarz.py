"""The information bottleneck by Cauchy-Schwarz divergences, from kernels of a batch."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from narrows.core import Autoencoder, Pass, Penalty, dense
from narrows.core.check import number
from narrows.core.schedules import Schedule
from narrows.kernels.pairs import Kernel, pair_sums

__all__ = ["CauchySchwarz", "conditional_divergence", "dependence", "gaussian_kernel"]

_TINY = 1e-30


def gaussian_kernel(x: Tensor, width: float = 1.0) -> Kernel:
    r"""A Gaussian kernel whose variance is a multiple of the mean variance of the columns of a batch.

    .. math:: k(d^2) = \exp\left(-\frac{d^2}{2 w^2 s^2}\right),\qquad
              s^2 = \frac1D \sum_j \mathrm{Var}(x_j)

    The variance is not differentiated: a loss of such kernels cannot be lowered by scaling x.

    Args:
        x: (B, D).
        width: w.
    """
    variance = x.detach().var(0, correction=0).mean().clamp_min(_TINY)

    def kernel(squared: Tensor) -> Tensor:
        return torch.exp(-squared / (2 * width**2 * variance))

    return kernel


def dependence(x: Tensor, t: Tensor, width: float = 1.0) -> Tensor:
    r"""The Cauchy-Schwarz mutual information of two variables, from B pairs, by kernel density estimates.

    .. math:: D_{CS}(p(x, t); p(x) p(t)) = \log \frac{1}{B^2} \sum_{ij} K_{ij} Q_{ij}
              + \log \frac{1}{B^4} \sum_{ij} K_{ij} \sum_{ij} Q_{ij}
              - 2 \log \frac{1}{B^3} \sum_i \Big(\sum_j K_{ij}\Big) \Big(\sum_j Q_{ij}\Big)

    Args:
        x: (B, D).
        t: (B, Z).
        width: of both kernels, see `gaussian_kernel`.

    Returns:
        A scalar of at least 0, up to rounding.

    Example:
        >>> x = torch.tensor([[0.0], [0.0], [1.0], [1.0]])
        >>> bool(dependence(x, torch.tensor([[0.0], [1.0], [0.0], [1.0]])).abs() < 1e-6)
        True
    """
    one, other = (x, x, gaussian_kernel(x, width)), (t, t, gaussian_kernel(t, width))
    both, k, q = (pair_sums(*factors) / len(x) for factors in ((one, other), (one,), (other,)))
    return both.mean().log() + k.mean().log() + q.mean().log() - 2 * (k * q).mean().log()


def conditional_divergence(x: Tensor, y: Tensor, predicted: Tensor, width: float = 1.0) -> Tensor:
    r"""The Cauchy-Schwarz divergence of p(y | x) and the distribution of predictions, by kernel density estimates.

    .. math:: D_{CS} = \log \sum_j \frac{\sum_i K_{ji} L_{ji}}{(\sum_i K_{ji})^2}
              + \log \sum_j \frac{\sum_i K_{ji} \hat L_{ji}}{(\sum_i K_{ji})^2}
              - \log \sum_j \frac{\sum_i K_{ji} M_{ji}}{(\sum_i K_{ji})^2}
              - \log \sum_j \frac{\sum_i K_{ji} M_{ij}}{(\sum_i K_{ji})^2}

    K, L and L hat are kernels of pairs of x, of y and of predictions, and M those of a target and a prediction.

    Args:
        x: what is given, (B, D).
        y: targets, (B, T).
        predicted: predictions, (B, T).
        width: of all kernels, see `gaussian_kernel`; that of predictions is that of targets.

    Returns:
        A scalar: 0 if predictions are the targets.
    """
    given, kernel = (x, x, gaussian_kernel(x, width)), gaussian_kernel(y, width)
    near = pair_sums(given).square()

    def log_mean(a: Tensor, b: Tensor) -> Tensor:
        return (pair_sums(given, (a, b, kernel)) / near).sum().clamp_min(_TINY).log()

    crossed = log_mean(y, predicted) + log_mean(predicted, y)
    return log_mean(y, y) + log_mean(predicted, predicted) - crossed


class CauchySchwarz(Penalty):
    r"""An information bottleneck: predictions that follow p(y | x), from a code with little information on x.

    .. math:: a\, E[-\log p(y|t)] + D_{CS}(p(y|x); q(\hat y|x)) + \beta\, I_{CS}(x; t)

    In place of a bound, both terms are estimated from the kernels of a batch; each is one number for a batch. y is the
    target of the data, x itself if they have none. t is the code that is decoded.

    Args:
        beta: weight of the information of code and input, of the term ``compression``.
        prediction: weight of the divergence, of the term ``prediction``.
        distortion: a, the weight of the method's own distortion.
        width: of the kernels, relative to the standard deviations of the batch.

    Raises:
        RequestError: `width` is not above 0.

    Reference:
        Yu, Yu, Lokse, Jenssen, Principe, Cauchy-Schwarz Divergence Information Bottleneck for Regression, 2024,
        section 3. arXiv:2404.17951
    """

    def __init__(
        self,
        beta: Schedule = 0.1,
        prediction: Schedule = 1.0,
        distortion: Schedule = 0.0,
        width: float = 1.0,
    ) -> None:
        super().__init__({"compression": beta, "prediction": prediction, "distortion": distortion})
        self.width = number("width", width, low=1e-6)

    def forward(self, model: Autoencoder, passed: Pass) -> Mapping[str, Tensor]:
        """Both terms, scalars."""
        x, y = passed.batch.x.flatten(1), passed.batch.target.flatten(1)
        t, made = dense(passed.code.z), model.likelihood.mean(passed.output)
        if t.shape[0] != len(x):  # draws of each example
            x, y = (rows.repeat(t.shape[0], 1) for rows in (x, y))
        t, made = t.reshape(len(x), -1), made.reshape(len(x), -1)
        return {
            "compression": dependence(x, t, self.width),
            "prediction": conditional_divergence(x, y, made, self.width),
        }
