"""Quadrature weights for the mean of a function over its domain.

All weights sum to 1, so that the mean does not depend on the units of the positions.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["equal", "normalised", "trapezium"]


def equal(mask: Tensor) -> Tensor:
    """Equal weights of all points: for cells of equal area, and for points drawn at random.

    Args:
        mask: mask of the points that exist, (..., P) bool.

    Returns:
        Weights (..., P), float32; zeros if no point exists.

    Example:
        >>> equal(torch.tensor([True, True, False, True]))
        tensor([0.3333, 0.3333, 0.0000, 0.3333])
    """
    return normalised(mask.to(torch.float32))


def normalised(weights: Tensor, dim: int = -1) -> Tensor:
    """Divide nonnegative weights by their sum along an axis; zeros if all of them are 0."""
    total = weights.sum(dim, keepdim=True)
    return weights / torch.where(total > 0, total, 1.0)


def trapezium(y: Tensor, low: float = 0.0, high: float = 1.0, mask: Tensor | None = None) -> Tensor:
    r"""The trapezium rule for points on a line, in any order and at any distance.

    .. math:: w_i = \frac{y_{i+1} - y_{i-1}}{2 (b - a)}

    The first and the last point also represent the intervals to the ends a and b of the domain, up to the
    length of the widest gap between two points.

    Args:
        y: positions from `low` to `high`, (..., P).
        low: the lower end of the domain, a.
        high: its upper end, b.
        mask: mask of the points that exist, (..., P) bool; all when None.

    Returns:
        Weights (..., P) that sum to 1, in the order of the points; zero for points that do not exist.

    Example:
        >>> trapezium(torch.tensor([0.0, 1.0, 0.5]))
        tensor([0.2500, 0.2500, 0.5000])
    """
    there = torch.ones_like(y, dtype=torch.bool) if mask is None else mask
    ordered, order = torch.where(there, y, torch.inf).sort(-1)
    first, last = ordered[..., :1], torch.where(there, y, -torch.inf).amax(-1, keepdim=True)
    gaps = ordered.diff(dim=-1)
    widest = torch.cat([torch.where(gaps.isfinite(), gaps, 0.0), torch.zeros_like(first)], -1)
    widest = widest.amax(-1, keepdim=True)
    widest = torch.where(widest > 0, widest, high - low)  # a single point represents the whole domain
    start, end = (first - widest).clamp(min=low), (last + widest).clamp(max=high)
    middle = (ordered[..., 1:] + ordered[..., :-1]) / 2  # infinite from the last existing point
    edges = torch.cat([start, torch.minimum(middle, end), end], -1)
    weights = torch.empty_like(y).scatter_(-1, order, edges.diff(dim=-1))
    return normalised(torch.where(there, weights, 0.0))
