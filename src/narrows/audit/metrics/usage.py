"""Use of the capacity: units of a dense code, entries of a codebook."""

from __future__ import annotations

import torch
from torch import Tensor

from narrows.core.check import refuse, whole

__all__ = [
    "ACTIVE",
    "MIXED",
    "PASSIVE",
    "active_units",
    "code_counts",
    "perplexity",
    "regimes",
    "unit_variance",
]

PASSIVE, MIXED, ACTIVE = 0, 1, 2
"""The regimes of a latent; see `regimes`."""

_STEADY = 0.1
"""A latent whose posterior variances have less variance than this behaves alike for every example."""

_NEAR = 0.1
"""Largest distance of the mean posterior variance from 0 (active) or from the prior's (passive)."""


def unit_variance(mean: Tensor) -> Tensor:
    """``Var_x E[z | x]`` of every unit, (Z,), in float64.

    Args:
        mean: posterior means, (N, ...); all axes but the first are flattened to Z units.
    """
    if mean.ndim < 2 or len(mean) < 2:
        raise refuse("mean", tuple(mean.shape), "posterior means (N, Z) of at least two examples")
    return mean.detach().flatten(1).double().var(0, correction=0)


def active_units(mean: Tensor, threshold: float = 0.01) -> int:
    """The number of active units, ``A_z = Var_x E[z | x] > 0.01``.

    Args:
        mean: posterior means, (N, Z).
        threshold: the least variance of an active unit.

    Example:
        >>> active_units(torch.tensor([[1.0, 0.0], [-1.0, 0.05]]))
        1

    Reference:
        Burda, Grosse, Salakhutdinov, Importance Weighted Autoencoders (2016), section 5.2.
    """
    return int((unit_variance(mean) > threshold).sum())


def regimes(ratio: Tensor) -> Tensor:
    r"""Whether each latent is `ACTIVE`, `PASSIVE` or `MIXED` over the whole data set, (Z,).

    With m and v the mean and the variance over the examples of a latent's posterior variance, in units of the
    prior's: active if v < 0.1 and m <= 0.1, passive if v < 0.1 and 0.9 <= m <= 1.1, otherwise mixed. So a posterior
    that is half as wide as the prior for every example is mixed. The thresholds are those of the authors' code; the
    ratio extends them to a prior whose variance is not 1.

    Args:
        ratio: posterior variance over prior variance, (N, Z).

    Example:
        >>> regimes(torch.tensor([[0.01, 1.0, 0.2, 0.5], [0.02, 0.99, 1.0, 0.5]])).tolist()
        [2, 0, 1, 1]

    Reference:
        Bonheme, Grzes, Be More Active! Understanding the Differences between Mean and Sampled Representations of
        Variational Autoencoders (2023), arXiv 2109.12679.
    """
    if ratio.ndim != 2 or len(ratio) == 0:
        raise refuse("ratio", tuple(ratio.shape), "variance ratios (N, Z) of at least one example")
    values = ratio.detach().double()
    mean, steady = values.mean(0), values.var(0, correction=0) < _STEADY
    regime = torch.full(mean.shape, MIXED, device=mean.device)
    regime[steady & (mean <= _NEAR)] = ACTIVE
    regime[steady & ((mean - 1).abs() <= _NEAR)] = PASSIVE
    return regime


def code_counts(indices: Tensor, codes: int) -> Tensor:
    """The counts of the N codebook entries, (N,).

    Args:
        indices: whole numbers below `codes`, of any shape.
        codes: N, the number of entries.
    """
    codes = whole("codes", codes)
    flat = indices.detach().flatten().long()
    if flat.numel() == 0 or int(flat.min()) < 0 or int(flat.max()) >= codes:
        found = "none" if flat.numel() == 0 else (int(flat.min()), int(flat.max()))
        raise refuse("indices", found, f"at least one index, all from 0 to {codes - 1}")
    return torch.bincount(flat, minlength=codes)


def perplexity(indices: Tensor, codes: int) -> float:
    """The perplexity of the codebook's use, ``exp(-sum_i p_i log p_i)``, from 1 to N.

    Args:
        indices: whole numbers below `codes`, of any shape.
        codes: N, the number of entries.

    Example:
        >>> round(perplexity(torch.tensor([0, 1, 0, 1]), 512), 6)
        2.0
    """
    p = code_counts(indices, codes).double()
    return float(torch.special.entr(p / p.sum()).sum().exp())
