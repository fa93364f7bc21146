"""Contours of a density in the plane that is known by draws."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from narrows.core.check import refuse

__all__ = ["contours", "density", "level_lines"]

_GRID = 48
_MARGIN = 0.25
"""The share of the range of the draws that the grid reaches beyond it."""


def density(points: Tensor, draws: Tensor) -> Tensor:
    """A Gaussian kernel estimate of the density of draws (N, 2) at points (M, 2), up to a factor, (M,).

    The widths of the kernel follow Scott's rule: N^(-1/6) standard deviations of each coordinate.

    Example:
        >>> draws = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
        >>> near, far = density(torch.tensor([[0.0, 0.0], [9.0, 9.0]]), draws)
        >>> bool(near > far)
        True

    Reference:
        Scott, Multivariate Density Estimation, 1992, section 6.3.
    """
    width = draws.std(0).clamp_min(1e-9) * len(draws) ** (-1 / 6)
    squares = torch.cdist(points / width, draws / width, compute_mode="donot_use_mm_for_euclid_dist").square()
    return torch.exp(-0.5 * squares).mean(1)


def level_lines(values: Tensor, x: Tensor, y: Tensor, level: float) -> Tensor:
    """The line on which a function has one value, in segments (S, 2, 2): ends, then coordinates.

    Each cell of the grid is cut into two triangles, on which the function is taken to be linear.

    Args:
        values: of the function, (X, Y).
        x: the first coordinate of the grid, (X,).
        y: the second, (Y,).
        level: the value.

    Example:
        >>> x = torch.tensor([0.0, 1.0])
        >>> level_lines(torch.tensor([[0.0, 0.0], [1.0, 1.0]]), x, x, 0.5)[:, :, 0].unique()
        tensor([0.5000])
    """
    places = torch.stack(torch.meshgrid(x, y, indexing="ij"), -1)
    corners = [
        (places[a : len(x) - 1 + a, b : len(y) - 1 + b], values[a : len(x) - 1 + a, b : len(y) - 1 + b])
        for a, b in ((0, 0), (1, 0), (1, 1), (0, 1))
    ]
    found = []
    for triangle in ((0, 1, 2), (0, 2, 3)):
        place = torch.stack([corners[c][0].flatten(0, 1) for c in triangle], 1)  # (T, 3, 2)
        value = torch.stack([corners[c][1].flatten() for c in triangle], 1) - level
        above = value > 0
        cut = above.any(1) & ~above.all(1)
        place, value, above = place[cut], value[cut], above[cut]
        # The corner that is alone on its side: both ends lie on its edges.
        alone = torch.where(above.sum(1) == 1, above.long().argmax(1), (~above).long().argmax(1))
        rows = torch.arange(len(alone))
        ends = []
        for turn in (1, 2):
            other = (alone + turn) % 3
            share = value[rows, alone] / (value[rows, alone] - value[rows, other])
            ends.append(place[rows, alone] + share[:, None] * (place[rows, other] - place[rows, alone]))
        found.append(torch.stack(ends, 1))
    return torch.cat(found)


def contours(draws: Tensor, shares: Sequence[float] = (0.5, 0.9)) -> list[Tensor]:
    """For each share, the line inside which about this share of draws (N, 2) lies, in segments (S, 2, 2).

    Args:
        draws: at least two points, (N, 2).
        shares: between 0 and 1.

    Example:
        >>> dice = torch.Generator().manual_seed(0)
        >>> (line,) = contours(torch.randn(2000, 2, generator=dice), [0.5])
        >>> bool((line.norm(dim=-1).mean() - 1.18).abs() < 0.1)  # sqrt(2 log 2), a little smoothed
        True
    """
    if draws.ndim != 2 or draws.shape[1] != 2 or len(draws) < 2:
        raise refuse("draws", tuple(draws.shape), "at least two points of the plane (N, 2)")
    draws = draws.double()
    low, high = draws.min(0).values, draws.max(0).values
    reach = _MARGIN * (high - low).clamp_min(1e-6)
    x, y = (
        torch.linspace(float(a), float(b), _GRID, dtype=torch.double)
        for a, b in zip(low - reach, high + reach, strict=True)
    )
    values = density(torch.cartesian_prod(x, y), draws).reshape(_GRID, _GRID)
    own = density(draws, draws)
    return [level_lines(values, x, y, float(own.quantile(1 - share))) for share in shares]
