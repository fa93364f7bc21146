"""Which part of the capacity is used: units of a dense code, entries of a codebook."""

from __future__ import annotations

import torch
from torch import Tensor

from narrows.check import refuse, whole

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

_NARROWER = 0.9
_NEARLY = 0.05


def unit_variance(mean: Tensor) -> Tensor:
    """``Var_x E[z | x]`` of every unit, (Z,), in float64.

    Args:
        mean: posterior means, (N, ...); what follows the first axis is flattened to Z units.
    """
    if mean.ndim < 2 or len(mean) < 2:
        raise refuse("mean", tuple(mean.shape), "posterior means (N, Z) of at least two examples")
    return mean.detach().flatten(1).double().var(0, correction=0)


def active_units(mean: Tensor, threshold: float = 0.01) -> int:
    """How many units move with the data: ``A_z = Var_x E[z | x] > 0.01``.

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
    """Whether each latent is `ACTIVE`, `PASSIVE` or `MIXED` over the whole data set, (Z,).

    A latent is in use for one example where its posterior is narrower than the prior: a variance below 0.9 of
    the prior's, worth at least 0.0026 nats. Active latents are in use for at least 95 % of the examples,
    passive ones for at most 5 %, mixed ones for some and not for others.

    Args:
        ratio: posterior variance over prior variance, (N, Z).

    Example:
        >>> regimes(torch.tensor([[0.01, 1.0, 0.2], [0.02, 0.99, 1.0]])).tolist()
        [2, 0, 1]

    Reference:
        Bonheme, Grzes, Be More Active! Understanding the Differences between Mean and Sampled Representations of
        Variational Autoencoders (2023), arXiv 2109.12679.
    """
    if ratio.ndim != 2 or len(ratio) == 0:
        raise refuse("ratio", tuple(ratio.shape), "variance ratios (N, Z) of at least one example")
    used = (ratio < _NARROWER).double().mean(0)
    regime = torch.full(used.shape, MIXED, device=used.device)
    regime[used >= 1 - _NEARLY] = ACTIVE
    regime[used <= _NEARLY] = PASSIVE
    return regime


def code_counts(indices: Tensor, codes: int) -> Tensor:
    """How often each of the N codebook entries was used, (N,).

    Args:
        indices: whole numbers below `codes`, of any shape.
        codes: N, how many entries there are.
    """
    codes = whole("codes", codes)
    flat = indices.detach().flatten().long()
    if flat.numel() == 0 or int(flat.min()) < 0 or int(flat.max()) >= codes:
        seen = "none" if flat.numel() == 0 else (int(flat.min()), int(flat.max()))
        raise refuse("indices", seen, f"at least one index, all from 0 to {codes - 1}")
    return torch.bincount(flat, minlength=codes)


def perplexity(indices: Tensor, codes: int) -> float:
    """How many codebook entries are in effective use: ``exp(-sum_i p_i log p_i)``, from 1 to N.

    Args:
        indices: whole numbers below `codes`, of any shape.
        codes: N, how many entries there are.

    Example:
        >>> round(perplexity(torch.tensor([0, 1, 0, 1]), 512), 6)
        2.0
    """
    p = code_counts(indices, codes).double()
    return float(torch.special.entr(p / p.sum()).sum().exp())
