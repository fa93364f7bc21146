"""How far probabilities of classes agree with the frequencies of the classes."""

from __future__ import annotations

import torch
from torch import Tensor

from narrows.core.check import whole

__all__ = ["calibration_error"]


def calibration_error(probabilities: Tensor, labels: Tensor, bins: int = 15) -> float:
    r"""The expected calibration error of the most probable classes.

    .. math:: \mathrm{ECE} = \sum_b \frac{n_b}{N} \left| \mathrm{acc}_b - \mathrm{conf}_b \right|

    over bins b of equal width of the largest probability: the share of right predictions in a bin against their mean
    probability.

    Args:
        probabilities: of the classes, (N, C).
        labels: the true classes, (N,) int64.
        bins: number of bins.

    Example:
        >>> round(calibration_error(torch.tensor([[0.7, 0.3]] * 10), torch.tensor([0] * 7 + [1] * 3)), 6)
        0.0

    Reference:
        Guo et al., On Calibration of Modern Neural Networks, 2017. arXiv:1706.04599
    """
    bins = whole("bins", bins)
    confidence, predicted = probabilities.double().max(1)
    gap = (predicted == labels).double() - confidence
    index = (confidence * bins).ceil().long().clamp(1, bins) - 1
    sums = torch.zeros(bins, dtype=torch.double).index_add(0, index, gap)
    return float(sums.abs().sum() / len(gap))
