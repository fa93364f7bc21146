"""At which depth a latent is on: the distribution over layers of a code that all layers share."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from narrows.check import refuse
from narrows.core import Sparse, dense

__all__ = ["Depth", "depth"]


@dataclass(frozen=True)
class Depth:
    r"""How the activity of each latent is spread over layers, over all tokens and within one.

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
        """The share of the variance that lies within single tokens, over all latents by their mass: 0 to 1.

        Small where a latent is on at a narrow depth in each token, but at other depths in other tokens.
        """
        total = float((self.mass * self.total).sum())
        return float((self.mass * self.within).sum()) / total if total > 0 else 0.0


def depth(z: Tensor | Sparse, shuffle: int | None = None) -> Depth:
    """Measure the depth of latents.

    Args:
        z: non-negative codes, (B, L, N): a code for each layer of each token.
        shuffle: a seed: deal each latent's layers out anew among its own activations, as a control. The total
            variance hardly changes then, and what lies within tokens is what chance would put there.

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
    codes = dense(z).detach()
    if codes.ndim != 3 or bool((codes < 0).any()):
        raise refuse("z", tuple(codes.shape), "non-negative codes (tokens, layers, latents)")
    tokens, _, latents = codes.shape
    token, layer, latent = codes.nonzero(as_tuple=True)
    values = codes[token, layer, latent].double()
    if shuffle is not None:
        layer = _dealt(layer, latent, shuffle)
    at = layer.double()
    sums = values.new_zeros(3, tokens * latents)
    sums.index_add_(1, token * latents + latent, torch.stack([values, values * at, values * at.square()]))
    mass, first, second = sums.unflatten(1, (tokens, latents))
    within = (second - first.square() / mass.clamp_min(1e-300)).sum(0)
    mass, first, second = mass.sum(0), first.sum(0), second.sum(0)
    safe = mass.clamp_min(1e-300)
    mean = first / safe
    return Depth(mass, mean, second / safe - mean.square(), within / safe)


def _dealt(layer: Tensor, latent: Tensor, seed: int) -> Tensor:
    """The layers of activations (E,), permuted among those of the same latent."""
    draw = torch.Generator().manual_seed(seed)
    keys = torch.rand(len(layer), dtype=torch.double, generator=draw).to(layer.device)
    grouped = latent.argsort(stable=True)
    mixed = keys.argsort()
    mixed = mixed[latent[mixed].argsort(stable=True)]  # the same latents in the same order, mixed within each
    out = torch.empty_like(layer)
    out[grouped] = layer[mixed]
    return out
