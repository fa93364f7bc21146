"""Wasserstein distances of order 1 between samples, and the dimension of a sample by its nearest neighbours."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from narrows.core.check import optional, refuse, whole

__all__ = ["intrinsic_dimension", "sliced_w1", "w1"]


def sliced_w1(a: Tensor, b: Tensor, slices: int = 200, seed: int = 0) -> float:
    r"""The sliced Wasserstein distance of order 1 of two samples of equal size; at most `w1`.

    .. math:: SW_1 = \frac{1}{L n} \sum_{l=1}^L \sum_{i=1}^n
              \big| (\theta_l^T a)_{(i)} - (\theta_l^T b)_{(i)} \big|

    Args:
        a: (n, Z).
        b: (n, Z).
        slices: number of random directions, L.
        seed: of the directions.

    Example:
        >>> sliced_w1(torch.tensor([[0.0], [2.0]]), torch.tensor([[3.0], [1.0]]))
        1.0
    """
    a, b = _pair(a, b)
    dice = torch.Generator().manual_seed(seed)
    unit = normalize(torch.randn(whole("slices", slices), a.shape[1], generator=dice), dim=1).double()
    return float(((a @ unit.T).sort(0).values - (b @ unit.T).sort(0).values).abs().mean())


def w1(a: Tensor, b: Tensor) -> float:
    r"""The Wasserstein distance of order 1 of two samples of equal size, by the best assignment.

    .. math:: W_1 = \min_\pi \frac{1}{n} \sum_i \|a_i - b_{\pi(i)}\|

    Args:
        a: (n, Z); the time grows with the third power of n.
        b: (n, Z).

    Raises:
        WorkError: scipy is not installed.

    Example:
        >>> w1(torch.tensor([[0.0, 0.0], [2.0, 0.0]]), torch.tensor([[2.0, 0.0], [0.0, 3.0]]))
        1.5
    """
    a, b = _pair(a, b)
    optimize = optional("scipy.optimize", "report", "compute optimal transport")
    cost = torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")
    rows, columns = optimize.linear_sum_assignment(cost.numpy())
    return float(cost[rows, columns].mean())


def intrinsic_dimension(x: Tensor) -> float:
    r"""The dimension of the set that examples lie on, by the ratio of distances of two neighbours (TwoNN).

    .. math:: \hat d = \frac{N}{\sum_i \log (r_{i2} / r_{i1})}

    r are the distances of an example from its nearest and its second nearest one. Of high dimensions, many examples are
    needed: the estimate is too small if density changes between neighbours.

    Args:
        x: (N, ...), N >= 3, without duplicates.

    Example:
        >>> line = torch.rand(2000, 1, generator=torch.Generator().manual_seed(0)) * torch.ones(1, 5)
        >>> round(intrinsic_dimension(line), 1)
        1.0

    Reference:
        Facco et al., Estimating the Intrinsic Dimension of Datasets by a Minimal Neighborhood Information, 2017.
        doi:10.1038/s41598-017-11873-y
    """
    rows = x.detach().flatten(1).double().cpu()
    if len(rows) < 3:
        raise refuse("x", tuple(x.shape), "at least three examples")
    apart = torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist")
    near = apart.fill_diagonal_(torch.inf).topk(2, dim=1, largest=False).values
    if float(near[:, 0].min()) == 0:
        raise refuse("x", "duplicates", "different examples")
    return float(len(rows) / (near[:, 1] / near[:, 0]).log().sum())


def _pair(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    a, b = (t.detach().flatten(1).double().cpu() for t in (a, b))
    if a.shape != b.shape or len(a) == 0:
        raise refuse("b", tuple(b.shape), f"as many examples of the same width as a, {tuple(a.shape)}")
    return a, b
