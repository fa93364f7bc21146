"""The maximum mean discrepancy between the aggregate posterior and the prior."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from narrows.core import Autoencoder, Objective, Pass
from narrows.core.check import number
from narrows.core.schedules import Schedule
from narrows.kernels.pairs import Kernel, pair_sums

__all__ = ["Discrepancy", "imq", "mmd"]

SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


def imq(squared: Tensor, width: float, scales: Sequence[float] = SCALES) -> Tensor:
    r"""The inverse multiquadratic kernel, summed over scales, with heavy tails.

    .. math:: k(x, y) = \sum_s \frac{s C}{s C + \|x - y\|^2}

    Args:
        squared: squared distances, of any shape.
        width: C.
        scales: s.

    Example:
        >>> imq(torch.tensor([0.0, 2.0]), 2.0, (1.0,))
        tensor([1.0000, 0.5000])
    """
    found: Tensor = _InverseMultiquadratic.apply(squared, [scale * width for scale in scales])
    return found


class _InverseMultiquadratic(torch.autograd.Function):
    """The sum over widths w of w / (w + x): one table of values and one of slopes, for any number of widths."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, widths: Sequence[float]) -> Tensor:
        values, slopes = torch.zeros_like(x), torch.zeros_like(x)
        for width in widths:
            inverse = (x + width).reciprocal_()
            values.add_(inverse, alpha=width)
            slopes.addcmul_(inverse, inverse, value=-width)
        ctx.save_for_backward(slopes)
        return values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient * ctx.saved_tensors[0], None


def mmd(a: Tensor, b: Tensor, kernel: Kernel) -> Tensor:
    r"""The squared maximum mean discrepancy of two samples, the unbiased estimate.

    .. math:: \frac{1}{n(n-1)} \sum_{i \ne j} k(a_i, a_j) + \frac{1}{m(m-1)} \sum_{i \ne j} k(b_i, b_j)
              - \frac{2}{nm} \sum_{i,j} k(a_i, b_j)

    Its expectation is 0 if both have the same distribution, and it may be negative. A sample of one row has
    no pairs, and its sum is 0.

    Args:
        a: (n, Z).
        b: (m, Z).
        kernel: from squared distances to k.

    Returns:
        A scalar.

    Example:
        >>> float(mmd(torch.zeros(4, 2), torch.zeros(3, 2), lambda d: torch.exp(-d)))
        0.0

    Reference:
        Gretton et al., A Kernel Two-Sample Test, 2012, lemma 6.
    """
    across = pair_sums((a, b, kernel)).sum() / (len(a) * len(b))
    return _within(a, kernel) + _within(b, kernel) - 2 * across


def _within(a: Tensor, kernel: Kernel) -> Tensor:
    """The mean of the kernel over pairs of different rows."""
    n = len(a)
    same = n * kernel(a.new_zeros(()))
    return (pair_sums((a, a, kernel)).sum() - same) / max(1, n * (n - 1))


class Discrepancy(Objective):
    r"""Distortion plus lambda times the MMD between a batch of codes and as many draws from the prior.

    .. math:: E[c(x, G(z))] + r\, E_x \mathrm{KL}(q(z|x)\,\|\,p(z))
              + \lambda\, \mathrm{MMD}_k(q(z), p(z)),\qquad C = 2 Z \sigma^2

    The width C of the kernel is the mean squared distance of two draws from the prior. The MMD is one number for a
    batch, whose weight is relative to the distortion of one example. Memory is linear in the batch.

    Args:
        weight: lambda.
        sigma: standard deviation of the prior.
        rate: r, the weight of the KL divergence of a code that has one.

    Reference:
        Tolstikhin et al., Wasserstein Auto-Encoders, 2018, algorithm 2. arXiv:1711.01558
    """

    def __init__(self, weight: Schedule = 10.0, sigma: float = 1.0, rate: Schedule = 1.0) -> None:
        super().__init__(weights={"mmd": weight, "kl": rate})
        self.sigma = number("sigma", sigma)

    def extra(self, model: Autoencoder, passed: Pass) -> Mapping[str, Tensor]:
        """The MMD, a scalar."""
        z = passed.code.z.flatten(0, -2)
        width = 2 * z.shape[-1] * self.sigma**2
        return {"mmd": mmd(z, model.bottleneck.sample(len(z)).z, lambda d: imq(d, width))}
