"""Samples against examples in a space of features: kernel distance, support, and copies of the training data."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from narrows.core.check import refuse, whole

__all__ = ["Support", "kid", "nearest_distances", "support"]

_CHUNK = 512


def kid(a: Tensor, b: Tensor) -> float:
    r"""The squared maximum mean discrepancy of two samples with the polynomial kernel of degree 3, unbiased.

    .. math:: \frac{1}{n(n-1)} \sum_{i \ne j} k(a_i, a_j) + \frac{1}{m(m-1)} \sum_{i \ne j} k(b_i, b_j)
              - \frac{2}{nm} \sum_{ij} k(a_i, b_j),\qquad k(a, b) = \Big(\frac{a \cdot b}{F} + 1\Big)^3

    Its mean is 0 for samples of one distribution, whatever their size, so that it may be below 0.

    Args:
        a: features (N, F), N >= 2.
        b: features (M, F), M >= 2.

    Raises:
        RequestError: fewer than two rows, or samples of different width.

    Example:
        >>> a = torch.tensor([[0.0], [1.0]])
        >>> kid(a, a + 1)
        9.5

    Reference:
        Binkowski et al., Demystifying MMD GANs, 2018, with Inception features. arXiv:1801.01401
    """
    a, b = _pair(a, b)

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        return (x @ y.T / x.shape[1] + 1) ** 3

    def own(x: Tensor) -> Tensor:
        k = kernel(x, x)
        return (k.sum() - k.diagonal().sum()) / (len(x) * (len(x) - 1))

    return float(own(a) + own(b) - 2 * kernel(a, b).mean())


class Support(NamedTuple):
    """How far samples and examples lie in each other's support."""

    precision: float
    """Share of samples in the support of the examples."""
    recall: float
    """Share of examples in the support of the samples."""
    density: float
    """Mean number of balls of examples that a sample is in, over k."""
    coverage: float
    """Share of examples whose ball has a sample."""


def support(made: Tensor, real: Tensor, k: int = 5) -> Support:
    r"""Precision, recall, density and coverage; a support is the union of balls that reach to the k-th neighbour.

    .. math:: \mathrm{precision} = \frac1M \sum_j 1\Big[\bigcup_i y_j \in B_i\Big],\quad
              \mathrm{density} = \frac{1}{kM} \sum_{ij} 1[y_j \in B_i],\quad
              \mathrm{coverage} = \frac1N \sum_i 1\Big[\bigcup_j y_j \in B_i\Big]

    :math:`B_i` is the ball of example i, to its k-th nearest neighbour among the examples; recall is precision with
    samples y and examples exchanged.

    Args:
        made: features of samples, (M, F).
        real: features of examples, (N, F).
        k: which neighbour the balls reach to.

    Raises:
        RequestError: not more than k rows, or rows of different width.

    Example:
        >>> real = torch.tensor([[0.0], [1.0], [2.0]])
        >>> support(torch.tensor([[0.5], [9.0]]), real, k=1)
        Support(precision=0.5, recall=1.0, density=1.0, coverage=0.6666666666666666)

    Reference:
        Kynkaanniemi et al., Improved Precision and Recall Metric for Assessing Generative Models, 2019.
        arXiv:1904.06991; Naeem et al., Reliable Fidelity and Diversity Metrics for Generative Models, 2020.
        arXiv:2002.09797
    """
    made, real = _pair(made, real)
    if min(len(made), len(real)) <= whole("k", k):
        raise refuse("k", k, f"less than the number of rows, {min(len(made), len(real))}")
    inside = torch.cdist(made, real) <= _radii(real, k)
    reached = torch.cdist(real, made) <= _radii(made, k)
    return Support(
        float(inside.any(1).double().mean()),
        float(reached.any(1).double().mean()),
        float(inside.double().sum() / (k * len(made))),
        float(inside.any(0).double().mean()),
    )


def _radii(x: Tensor, k: int) -> Tensor:
    """The distance of each row to its k-th nearest other row."""
    away = torch.cdist(x, x).fill_diagonal_(torch.inf)
    return away.kthvalue(k, 1).values


def nearest_distances(rows: Tensor, among: Tensor) -> tuple[Tensor, Tensor]:
    """Distance and number of the nearest of other rows: (N, F) and (M, F) -> (N,) and (N,).

    Example:
        >>> nearest_distances(torch.tensor([[2.0]]), torch.tensor([[0.0], [3.0]]))
        (tensor([1.]), tensor([1]))
    """
    found = [torch.cdist(part, among).min(1) for part in rows.flatten(1).split(_CHUNK)]
    return torch.cat([f.values for f in found]), torch.cat([f.indices for f in found])


def _pair(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    a, b = (t.detach().to("cpu", torch.float64).flatten(1) for t in (a, b))
    if a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise refuse("b", tuple(b.shape), f"at least two rows as wide as those of a, {tuple(a.shape)}")
    return a, b
