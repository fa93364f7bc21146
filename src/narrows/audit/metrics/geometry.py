"""Distances between samples of codes, such as the aggregate posterior and the prior."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from narrows.core.check import choice, refuse

__all__ = ["effective_rank", "mmd", "nearest"]

_CHUNK = 1024
"""Rows whose distances are computed at once."""
_SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


def mmd(a: Tensor, b: Tensor, kernel: Literal["imq", "rbf"] = "imq") -> float:
    r"""The unbiased estimate of the squared maximum mean discrepancy of two samples.

    .. math:: \frac{1}{n(n-1)} \sum_{i \ne j} k(a_i, a_j) + \frac{1}{m(m-1)} \sum_{i \ne j} k(b_i, b_j)
              - \frac{2}{nm} \sum_{ij} k(a_i, b_j)

    It is averaged over seven bandwidths around 2 Z. If both samples have the same distribution it has mean 0, and may
    be slightly negative.

    Args:
        a: (n, Z), n >= 2.
        b: (m, Z), m >= 2.
        kernel: ``imq``, inverse multiquadratic ``C / (C + |a - b|^2)``, or ``rbf``, ``exp(-|a - b|^2 / C)``;
            C = 2 Z times each scale, which suits a standard normal.

    Example:
        >>> a = torch.tensor([[0.0], [1.0]])
        >>> mmd(a, a + 100) > 0.5
        True

    Reference:
        Tolstikhin et al., Wasserstein Auto-Encoders (2018), section 4; Gretton et al. (2012).
    """
    choice("kernel", kernel, ("imq", "rbf"))
    a, b = a.detach().flatten(1).double(), b.detach().flatten(1).double()
    if a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise refuse("b", tuple(b.shape), f"at least two codes as wide as those of a, {tuple(a.shape)}")
    aa, bb, ab = _squared(a, a), _squared(b, b), _squared(a, b)
    total = 0.0
    for scale in _SCALES:
        width = 2 * a.shape[1] * scale
        within = sum(_off_diagonal_mean(_kernel(d, width, kernel)) for d in (aa, bb))
        total += within - 2 * float(_kernel(ab, width, kernel).mean())
    return total / len(_SCALES)


def effective_rank(z: Tensor) -> float:
    r"""The number of directions that codes use: the exponential of the entropy of their singular values.

    .. math:: \exp\Big(-\sum_j p_j \log p_j\Big),\qquad p_j = \frac{s_j}{\sum_i s_i}

    s are the singular values of the centred codes. It is Z for codes that vary alike in all directions, and 1 for codes
    on a line, whatever their scale.

    Args:
        z: codes (N, Z).

    Example:
        >>> effective_rank(torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]))
        2.0

    Reference:
        Roy and Vetterli, The Effective Rank: A Measure of Effective Dimensionality, 2007.
    """
    rows = z.detach().flatten(1).double()
    values = torch.linalg.svdvals(rows - rows.mean(0))
    share = values / values.sum().clamp_min(1e-300)
    return float(torch.special.entr(share).sum().exp())


def nearest(a: Tensor, b: Tensor, *, same: bool = False) -> Tensor:
    """The distance of each row of `a` from the nearest row of `b`, (N,).

    Args:
        a: (N, Z).
        b: (M, Z).
        same: the rows are the same, and none is compared with itself.

    Example:
        >>> nearest(torch.tensor([[0.0], [5.0]]), torch.tensor([[1.0], [3.0]]))
        tensor([1., 2.])
    """
    found = []
    for first in range(0, len(a), _CHUNK):
        apart = torch.cdist(a[first : first + _CHUNK], b, compute_mode="donot_use_mm_for_euclid_dist")
        if same:
            rows = torch.arange(len(apart), device=apart.device)
            apart[rows, first + rows] = torch.inf
        found.append(apart.min(1).values)
    return torch.cat(found)


def _squared(a: Tensor, b: Tensor) -> Tensor:
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist").square()


def _kernel(squared: Tensor, width: float, kernel: str) -> Tensor:
    return width / (width + squared) if kernel == "imq" else torch.exp(-squared / width)


def _off_diagonal_mean(gram: Tensor) -> float:
    n = len(gram)
    return float(gram.sum() - gram.diagonal().sum()) / (n * (n - 1))
