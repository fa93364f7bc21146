"""The distribution over layers of the latents of a code that all layers share."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from narrows.core import Sparse, dense
from narrows.core.check import refuse

__all__ = ["Depth", "depth", "shuffled_layers"]


@dataclass(frozen=True)
class Depth:
    r"""The variance of the layer at which each latent is on, over all tokens and within single tokens.

    With layers weighted by activation, the law of total variance splits the variance of the layer L of a latent j:

    .. math:: \mathrm{Var}(L \mid j) = E_t\, \mathrm{Var}(L \mid j, t) + \mathrm{Var}_t\, E[L \mid j, t]

    Args:
        mass: the sum of each latent's activations, (N,).
        mean: the mean layer of each latent, (N,), from 0 on.
        total: Var(L | j), (N,).
        within: the mean over tokens of Var(L | j, t), (N,).
    """

    mass: Tensor
    mean: Tensor
    total: Tensor
    within: Tensor

    @property
    def ratio(self) -> float:
        """The share of the variance that lies within single tokens, weighted by the mass of the latents: 0 to 1.

        It is small if a latent is on at few layers of each token, but at different layers of different tokens.
        """
        total = float((self.mass * self.total).sum())
        return float((self.mass * self.within).sum()) / total if total > 0 else 0.0


def depth(z: Tensor | Sparse) -> Depth:
    """Measure the distribution of latents over layers.

    Args:
        z: non-negative codes, (B, L, N): a code for each layer of each token.

    Raises:
        RequestError: codes of another shape, or negative ones.

    Example:
        >>> z = torch.tensor([[[1.0], [1.0], [0.0]], [[0.0], [1.0], [1.0]]])
        >>> found = depth(z)
        >>> found.mean.tolist(), found.total.tolist(), found.within.tolist(), found.ratio
        ([1.0], [0.5], [0.25], 0.5)

    Reference:
        Lawson et al., Residual Stream Analysis with Multi-Layer SAEs, 2024, section 3. arXiv:2409.04185
    """
    codes = _stacked(z)
    tokens, _, latents = codes.shape
    token, layer, latent = codes.nonzero(as_tuple=True)
    values, at = codes[token, layer, latent].double(), layer.double()
    sums = values.new_zeros(3, tokens * latents)
    sums.index_add_(1, token * latents + latent, torch.stack([values, values * at, values * at.square()]))
    mass, first, second = sums.unflatten(1, (tokens, latents))
    within = (second - first.square() / mass.clamp_min(1e-300)).sum(0)
    mass, first, second = mass.sum(0), first.sum(0), second.sum(0)
    safe = mass.clamp_min(1e-300)
    mean = first / safe
    return Depth(mass, mean, second / safe - mean.square(), within / safe)


def shuffled_layers(z: Tensor | Sparse, seed: int, rounds: int = 20) -> Tensor:
    """The same codes at random layers, as a control.

    For each latent, the number of layers of each token and the number of tokens at each layer stay the same. Subject
    to these margins all assignments are equally likely: tokens are paired at random, and the layers that only one of a
    pair has are redistributed between the two, each keeping its number (the curveball algorithm). A token keeps its
    activations of a latent, in random order, so that `total` changes only through their values.

    Args:
        z: non-negative codes, (B, L, N).
        seed: of the draws.
        rounds: how often every token is paired.

    Raises:
        RequestError: codes of another shape, or negative ones.

    Example:
        >>> z = torch.tensor([[[1.0], [2.0], [0.0]], [[0.0], [3.0], [4.0]]])
        >>> control = shuffled_layers(z, 0)
        >>> (control > 0).sum(1).tolist(), (control > 0).sum(0).T.tolist()
        ([[2], [2]], [[1, 2, 1]])

    Reference:
        Strona et al., A fast and unbiased procedure to randomize ecological binary matrices with fixed row and column
        totals, Nature Communications 5, 2014.
    """
    codes = _stacked(z)
    draw = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> Tensor:
        return torch.rand(shape, dtype=torch.double, generator=draw).to(codes.device)

    by_latent = codes.permute(2, 0, 1)
    latent, token = (by_latent > 0).any(2).nonzero().T.contiguous()  # in the order of the latents
    values = by_latent[latent, token]
    on = values > 0
    for _ in range(rounds):
        order = random(len(latent)).argsort()
        order = order[latent[order].argsort(stable=True)]
        index = torch.arange(len(order), device=codes.device)
        first = index - torch.searchsorted(latent, latent)  # the index among the rows of the same latent
        paired = (first[:-1] % 2 == 0) & (latent[1:] == latent[:-1])
        one, two = order[:-1][paired], order[1:][paired]
        either = on[one] ^ on[two]
        left = (on[one] & either).sum(1, keepdim=True)
        rank = random(*either.shape).masked_fill(~either, 2.0).argsort(1).argsort(1)
        both, taken = on[one] & on[two], rank < left
        on[one], on[two] = both | taken, both | (either & ~taken)
    mixed = values.gather(1, random(*values.shape).masked_fill(values == 0, 2.0).argsort(1))
    dealt = torch.zeros_like(values).scatter(1, (~on).to(torch.uint8).argsort(dim=1, stable=True), mixed)
    out = torch.zeros_like(by_latent)
    out[latent, token] = dealt
    return out.permute(1, 2, 0)


def _stacked(z: Tensor | Sparse) -> Tensor:
    codes = dense(z).detach()
    if codes.ndim != 3 or bool((codes < 0).any()):
        raise refuse("z", tuple(codes.shape), "non-negative codes (tokens, layers, latents)")
    return codes
