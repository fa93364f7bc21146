"""Bits to describe inputs by sparse codes at a given error."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from narrows.core import Sparse

__all__ = ["Description", "describe", "entropy_bits", "quantised"]

_OCTAVES, _STEPS = 16, 16
"""The finest grid that is tried, in halvings of the largest value, and the number of bisections."""


class Description(NamedTuple):
    """The shortest description of codes on a uniform grid.

    Args:
        bits: per input.
        l0: the mean number of coefficients that are not 0 after rounding.
        step: width of the grid's cells.
        error: mean squared error of an input, summed over its dimensions.
    """

    bits: float
    l0: float
    step: float
    error: float


def entropy_bits(levels: Tensor | Sparse) -> float:
    r"""Bits to send codes of whole numbers, one latent at a time.

    .. math:: \sum_j \big[ H(p_j) + p_j\, H(q_j \mid q_j \ne 0) \big]

    p_j is how often latent j is not 0. The entropies are those of the frequencies in these codes, too small if a
    latent is on in few of them.

    Args:
        levels: whole numbers, (B, N).

    Example:
        >>> entropy_bits(torch.eye(8))  # one of eight: 8 H(1/8)
        4.3485...
    """
    count = len(levels)
    latent, level = _entries(levels)
    if not len(latent):
        return 0.0
    level = level.round().long()
    span = int(level.max() - level.min()) + 1
    _, each = (latent * span + (level - level.min())).unique(return_counts=True)
    _, on = latent.unique(return_counts=True)
    shares, off = each.double() / count, 1 - on.double() / count
    return float(
        -(shares * shares.log2()).sum() - torch.special.xlogy(off, off).sum() / torch.log(torch.tensor(2.0))
    )


def quantised(z: Tensor | Sparse, step: Tensor) -> Tensor | Sparse:
    """The number of the nearest grid point of each coefficient, as a float tensor.

    Args:
        z: codes, (B, N).
        step: width of the cells of each latent, (N,).
    """
    if isinstance(z, Sparse):
        return Sparse(z.indices, (z.values / step[z.indices]).round(), z.width)
    return (z / step).round()


def describe(
    z: Tensor | Sparse, lengths: Tensor, error: Callable[[Tensor | Sparse], float], target: float
) -> Description | None:
    r"""The description of codes on the coarsest uniform grid whose error is at most a target.

    The grid is uniform in units of the atoms' lengths, :math:`q(z_j) = s_j \mathrm{round}(z_j / s_j)` with
    :math:`s_j = s / \|a_j\|`, so that the same dictionary with rescaled atoms has the same description. s is found by
    bisection. A coefficient in the cell of 0 is off.

    Args:
        z: codes, (B, N).
        lengths: of the atoms, (N,).
        error: from codes to their error, in the units of `target`.
        target: largest error.

    Returns:
        None if the error is above the target on the finest grid too.

    Example:
        >>> z = torch.rand(1000, 4)
        >>> found = describe(z, torch.ones(4), lambda q: float((q - z).square().sum(1).mean()), 4 * 0.25**2 / 12)
        >>> 0.23 < found.step < 0.27, round(found.bits)  # about a quarter: five levels, the outer ones half as wide
        (True, 9)
    """
    lengths = lengths.clamp_min(1e-12)
    _, values = _entries(z)
    latent = z.indices.flatten() if isinstance(z, Sparse) else None
    all_values = z.values.flatten() if isinstance(z, Sparse) else z
    scaled = all_values * (lengths if latent is None else lengths[latent])
    if not len(values):
        return None
    largest = 2 * float(scaled.abs().max())
    found: Description | None = None
    low, high = (
        -float(_OCTAVES),
        0.0,
    )  # of the step, in octaves of the largest value; fine enough, and too coarse
    for number in range(_STEPS + 1):
        at = low if number == 0 else (low + high) / 2
        step = largest * 2.0**at
        levels = quantised(z, step / lengths)
        reached = error(_times(levels, step / lengths))
        if reached <= target:
            low, found = (
                at,
                Description(entropy_bits(levels), len(_entries(levels)[0]) / len(z), step, reached),
            )
        elif number == 0:
            return None
        else:
            high = at
    return found


def _times(levels: Tensor | Sparse, step: Tensor) -> Tensor | Sparse:
    if isinstance(levels, Sparse):
        return Sparse(levels.indices, levels.values * step[levels.indices], levels.width)
    return levels * step


def _entries(z: Tensor | Sparse) -> tuple[Tensor, Tensor]:
    """The latents and values of all entries that are not 0."""
    if isinstance(z, Sparse):
        on = z.values != 0
        return z.indices[on], z.values[on]
    found = z.nonzero(as_tuple=True)
    return found[1], z[found]
