"""Sparse autoencoders specialised to a subdomain.

Muhamed, Diab, Smith, Decoding Dark Matter: Specialized Sparse Autoencoders for Interpreting Rare Concepts in
Foundation Models, 2024. arXiv:2411.00743
"""

from __future__ import annotations

from typing import Any

from narrows.bottlenecks.sparse.batchtopk import BatchTopK
from narrows.bottlenecks.sparse.latents import SparseBottleneck
from narrows.bottlenecks.sparse.relu import ReLU
from narrows.bottlenecks.sparse.topk import TopK
from narrows.core import Autoencoder, Spec, as_spec
from narrows.core.check import choice
from narrows.core.schedules import Schedule
from narrows.methods.sparse.shared import target
from narrows.methods.sparse.topk_sae import aux_k_revival, default_latents, sparse_autoencoder
from narrows.objectives.tilted import Specialised

__all__ = ["specialised_sae"]


def specialised_sae(
    spec: Spec | tuple[int, ...],
    *,
    latents: int = 0,
    k: int = 16,
    tilt: float = 1.0,
    start: str = "",
    activation: str = "topk",
    l1: Schedule = 1.0,
    target_l0: float = 0.0,
    aux_k: int = 0,
    aux_weight: Schedule = 1 / 32,
    dead_after: int = 0,
    unit_norm: bool = True,
    normalise: bool = True,
) -> Autoencoder:
    r"""A general autoencoder fitted on to a subdomain, where what is reconstructed badly counts more.

    .. math:: L = \frac{V}{t} \log \frac1B \sum_b e^{t\, \ell_b / V}, \qquad \ell_b = \|x_b - \hat x_b\|^2
        + \alpha L_{aux}

    The recipe: fit a general model; choose data near a few examples of the subdomain (`narrows.data.related`); fit
    this method on them with ``start`` at the general model's folder. The tilt raises the weight of the tail, where
    rare concepts are. With TopK the tail of the losses holds the examples that have more atoms than k, rare or not;
    with a price on ReLU latents they may have as many on as they need. The paper tilts models with ReLU, TopK and gated
    latents, with t beside losses in the activations' units (its large ones are hundreds); ours counts in units of the
    data's variance V, and is V times as large.

    Args:
        spec: what the data look like, or the shape of one example; flattened.
        latents: how many, N; when 0, eight for each number of an example, at most 16384. As in `start`.
        k: how many of them may be on in one example (on average, with BatchTopK).
        tilt: t; 0 gives the mean.
        start: a ``model.safetensors`` of a sparse autoencoder of the same shapes, or its run's folder, to begin from.
        activation: ``topk``, ``batchtopk``, or ``relu`` with a price on the sum of the latents.
        l1: weight of that price, with ``relu``.
        target_l0: how many latents shall be on in one example, on average, with ``relu``; the weight is then steered.
        aux_k: how many dead latents predict the residual; when 0, half the numbers of an example.
        aux_weight: weight of their error, as a share of the residual's variance; 0 leaves it out.
        dead_after: a latent is dead when it was off for more examples than this; when 0, a hundred times N / k.
        unit_norm: hold every atom at length 1.
        normalise: scale the data to mean square 1 inside the model, unless `start` brings weights for data as they are.

    Raises:
        RequestError: an argument out of range; data with a target; at the first step, a `start` that does not fit.

    Example:
        >>> specialised_sae((8,), latents=32, k=4, tilt=2.0).objective.reduce.t
        2.0

    Reference:
        Muhamed, Diab, Smith, Decoding Dark Matter: Specialized Sparse Autoencoders for Interpreting Rare Concepts in
        Foundation Models, 2024. arXiv:2411.00743
    """
    spec = as_spec(spec)
    latents = latents or default_latents(spec)
    terms: dict[str, Any] = {}
    bottleneck: SparseBottleneck
    if choice("activation", activation, ("topk", "batchtopk", "relu")) == "relu":
        bottleneck, steered = ReLU(latents), target("l1", target_l0, 0.0)
        terms = {"target": steered, "weights": {} if steered is not None else {"l1": l1}}
    else:
        bottleneck = TopK(latents, k) if activation == "topk" else BatchTopK(latents, k)
    revival = aux_k_revival(spec, latents, k, aux_k=aux_k, weight=aux_weight, dead_after=dead_after)
    objective = Specialised(tilt=tilt, start=start, revival=revival, **terms)
    return sparse_autoencoder(spec, bottleneck, objective, unit_norm=unit_norm, normalise=normalise)
