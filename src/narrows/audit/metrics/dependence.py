"""Dependence of the latents of a code: absolute correlations and the total correlation of a fitted Gaussian."""

from __future__ import annotations

import torch
from torch import Tensor

from narrows.core.check import refuse

__all__ = ["absolute_correlations", "gaussian_total_correlation", "mean_correlation"]

_LEAST = 1e-9
"""The least eigenvalue of a correlation matrix that is told from 0."""


def absolute_correlations(codes: Tensor) -> Tensor:
    """The absolute correlations of latents, (Z, Z), with 0 on the diagonal and for a latent that is constant.

    Args:
        codes: (N, Z), N >= 2.

    Example:
        >>> absolute_correlations(torch.tensor([[0.0, 1.0, 3.0], [1.0, -1.0, 3.0]]))[0].round().tolist()
        [0.0, 1.0, 0.0]
    """
    return _correlations(codes).abs().fill_diagonal_(0)


def mean_correlation(codes: Tensor) -> float:
    """The mean absolute correlation of two different latents; 0 for a single one.

    Args:
        codes: (N, Z), N >= 2.
    """
    width = codes.shape[1]
    return float(absolute_correlations(codes).sum()) / max(1, width * (width - 1))


def gaussian_total_correlation(codes: Tensor) -> float:
    r"""The total correlation of a Gaussian with the covariance of the codes, in nats.

    .. math:: \mathrm{TC} = \mathrm{KL}\big(N(m, S)\,\|\,\textstyle\prod_j N(m_j, S_{jj})\big)
              = -\tfrac{1}{2} \log\det R

    R is the correlation matrix; its eigenvalues below 1e-9 are taken as 1e-9, so that it is finite.

    Args:
        codes: (N, Z), N >= 2.

    Example:
        >>> codes = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
        >>> abs(gaussian_total_correlation(codes)) < 1e-9
        True

    Reference:
        Watanabe, Information Theoretical Analysis of Multivariate Correlation, 1960.
    """
    values = torch.linalg.eigvalsh(_correlations(codes)).clamp_min(_LEAST)
    return float(-0.5 * values.log().sum())


def _correlations(codes: Tensor) -> Tensor:
    """The correlation matrix, in the precision of the codes but at least float64; unit diagonal."""
    if codes.ndim != 2 or len(codes) < 2:
        raise refuse("codes", tuple(codes.shape), "codes (N, Z) of at least two examples")
    rows = codes.detach().double()
    rows = rows - rows.mean(0)
    unit = rows / rows.norm(dim=0).clamp_min(1e-300)
    return (unit.T @ unit).clamp(-1, 1).fill_diagonal_(1)
