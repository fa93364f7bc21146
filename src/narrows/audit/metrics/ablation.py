"""Linear probes when latents are ablated: targeted perturbation, and removal of spurious correlations."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["accuracy", "effect", "perturbation", "removal", "strongest"]


def effect(z: Tensor, y: Tensor, weights: Tensor, atoms: Tensor) -> Tensor:
    r"""How much of a probe's margin between two classes passes through each latent, (N,).

    .. math:: (\bar f_{j \mid y=1} - \bar f_{j \mid y=0})\; w \cdot d_j

    Args:
        z: codes, (B, N).
        y: 0 or 1, (B,).
        weights: of the probe, (D,).
        atoms: the change of the reconstruction by each latent, (N, D).

    Example:
        >>> effect(torch.tensor([[2.0], [0.0]]), torch.tensor([1, 0]), torch.ones(2), torch.tensor([[1.0, 0.5]]))
        tensor([3.])
    """
    return (z[y == 1].mean(0) - z[y == 0].mean(0)) * (atoms @ weights)


def strongest(effects: Tensor, count: int) -> Tensor:
    """The latents with the largest effects, at most `count`; those without an effect are not among them."""
    chosen = effects.topk(min(count, len(effects))).indices
    return chosen[effects[chosen] != 0]


def accuracy(margins: Tensor, y: Tensor, z: Tensor, weights: Tensor, atoms: Tensor, ablated: Tensor) -> float:
    r"""The accuracy of a probe when some latents are set to 0 and the error of the reconstruction is kept.

    The input becomes :math:`x - \sum_j f_j d_j`, so that the margin changes by :math:`-\sum_j f_j\, w \cdot d_j`.

    Args:
        margins: of the probe, without ablation, (B,).
        y: 0 or 1, (B,).
        z: codes, (B, N).
        weights: of the probe, (D,).
        atoms: (N, D).
        ablated: numbers of latents.
    """
    rest = margins - z[:, ablated] @ (atoms[ablated] @ weights)
    return float(((rest > 0) == y.bool()).double().mean())


def perturbation(
    margins: Tensor,
    y: Tensor,
    z: Tensor,
    weights: Tensor,
    atoms: Tensor,
    effects: Tensor,
    counts: Sequence[int],
) -> dict[int, float]:
    r"""Targeted probe perturbation (TPP): the drop of a probe's own accuracy less the mean drop of the others.

    .. math:: \mathrm{TPP}_n = \operatorname{mean}_c \Big[\Delta_{c, c} - \operatorname{mean}_{c' \ne c}
        \Delta_{c', c}\Big]

    :math:`\Delta_{c', c}` is the loss of accuracy of the probe of c' when the n latents with the largest effects on
    concept c are ablated.

    Args:
        margins: of each concept's probe on its test examples, (P, B).
        y: (P, B).
        z: codes of the test examples, (P, B, N).
        weights: of the probes, (P, D).
        atoms: (N, D).
        effects: of each latent on each concept, (P, N).
        counts: numbers of latents, n.
    """
    concepts, found = len(weights), {}
    shares = weights @ atoms.T
    whole = ((margins > 0) == y.bool()).double().mean(1)
    for count in counts:
        drops = torch.zeros(concepts, concepts, dtype=torch.double)
        for ablated in range(concepts):
            chosen = strongest(effects[ablated], count)
            rest = margins - (z[..., chosen] @ shares[:, chosen, None])[..., 0]
            drops[:, ablated] = whole - ((rest > 0) == y.bool()).double().mean(1)
        own = drops.diagonal()
        others = (drops.sum(0) - own) / max(1, concepts - 1)
        found[count] = float((own - others).mean())
    return found


def removal(ablated: Sequence[float], biased: Sequence[float], clean: Sequence[float]) -> float:
    r"""Spurious correlation removal (SCR): the share of the lost accuracy that an ablation restores.

    .. math:: \frac{\sum (a_\text{ablated} - a_\text{biased})}{\sum (a_\text{clean} - a_\text{biased})}

    Args:
        ablated: accuracies of the biased probe with latents ablated, one for each direction.
        biased: without.
        clean: of a probe that was trained without the correlation.

    Example:
        >>> round(removal([0.8], [0.6], [0.9]), 4)
        0.6667
    """
    return (sum(ablated) - sum(biased)) / (sum(clean) - sum(biased))
