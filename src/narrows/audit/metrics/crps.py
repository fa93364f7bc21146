"""Scores of predictive distributions from draws: continuous ranked probability score, and coverage."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from narrows.core.check import refuse

__all__ = ["coverage", "crps", "gaussian_crps"]


def crps(draws: Tensor, x: Tensor) -> Tensor:
    r"""The continuous ranked probability score of each value, from draws.

    .. math:: E|X - x| - \frac12 E|X - X'| = \int (F(y) - 1[y \ge x])^2 \, dy

    Estimated without bias from M draws; of one certain value it is the absolute error.

    Args:
        draws: (M, ...), M >= 2.
        x: the true values, (...).

    Example:
        >>> crps(torch.tensor([[0.0], [2.0]]), torch.tensor([1.0]))
        tensor([0.])

    Reference:
        Gneiting and Raftery, Strictly Proper Scoring Rules, Prediction, and Estimation, 2007.
        doi:10.1198/016214506000001437
    """
    count = len(draws)
    if count < 2:
        raise refuse("draws", count, "at least 2")
    ordered = draws.sort(0).values
    rank = 2 * torch.arange(1, count + 1, dtype=draws.dtype, device=draws.device) - count - 1
    apart = (ordered * rank.reshape(-1, *[1] * x.dim())).sum(0) / (count * (count - 1))  # E|X - X'| / 2
    return (draws - x).abs().mean(0) - apart


def gaussian_crps(mean: Tensor, deviation: Tensor, x: Tensor) -> Tensor:
    r"""The score of a Gaussian in closed form.

    .. math:: \sigma \Big[ z (2 \Phi(z) - 1) + 2 \phi(z) - \pi^{-1/2} \Big],\qquad z = \frac{x - \mu}{\sigma}

    Args:
        mean: of the Gaussian.
        deviation: its standard deviation, above 0.
        x: the true values.

    Example:
        >>> round(float(gaussian_crps(torch.zeros(()), torch.ones(()), torch.zeros(()))), 4)
        0.2337
    """
    z = (x - mean) / deviation
    density = (-0.5 * z.square()).exp() / math.sqrt(2 * math.pi)
    return deviation * (z * torch.special.erf(z / math.sqrt(2)) + 2 * density - 1 / math.sqrt(math.pi))


def coverage(draws: Tensor, x: Tensor, level: float = 0.9) -> float:
    """The share of true values between the quantiles of draws that hold a share `level` of them.

    Args:
        draws: (M, ...).
        x: the true values, (...).
        level: share of the interval.

    Example:
        >>> coverage(torch.arange(11.0)[:, None].expand(11, 2), torch.tensor([5.0, 9.9]))
        0.5
    """
    low, high = (draws.quantile(q, 0) for q in ((1 - level) / 2, (1 + level) / 2))
    return float(((low <= x) & (x <= high)).double().mean())
