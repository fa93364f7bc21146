"""The Feature Choice sparse autoencoder.

Ayonrinde, Adaptive Sparse Allocation with Mutual Choice & Feature Choice Sparse Autoencoders, 2024. arXiv:2411.02124
"""

from __future__ import annotations

from narrows.bottlenecks.sparse.choice import FeatureChoice
from narrows.core import Autoencoder, Spec, as_spec
from narrows.core.schedules import Schedule
from narrows.methods.sparse.mutual_choice_sae import aux_zipf_objective
from narrows.methods.sparse.topk_sae import default_latents, sparse_autoencoder

__all__ = ["feature_choice_sae"]


def feature_choice_sae(
    spec: Spec | tuple[int, ...],
    *,
    latents: int = 0,
    k: int = 16,
    zipf: float = 1.0,
    zipf_offset: float = 0.0,
    threshold_decay: float = 0.9,
    aux_k: int = 0,
    aux_weight: Schedule = 1 / 32,
    underused: float = 0.5,
    dead_after: int = 0,
    unit_norm: bool = True,
    normalise: bool = True,
) -> Autoencoder:
    r"""Features choose tokens: each latent keeps the examples of the batch on which it is largest, by a budget.

    .. math:: z_{bi} = h_{bi}\, 1[h_{bi} \in \mathrm{top}_{m_i}(h_{\cdot i})], \quad m_i \propto (i + q)^{-s}, \qquad
        L = \|x - \hat x\|^2 + \alpha L_{aux\_zipf}

    Every latent is on in its share of the examples, so that none can die; an example has as many as chose it.
    `bottlenecks.choice.FeatureChoice` has the rule and what replaces it at inference. The paper begins with Mutual
    Choice to learn the frequencies; here the budgets follow the law from the first step. That it runs along the
    latents' order, and its exponent, are our reading of the paper's summaries: its full text was not at hand.

    Args:
        spec: what the data look like, or the shape of one example; flattened.
        latents: how many, N; when 0, eight for each number of an example, at most 16384.
        k: how many of them are on in an example, on average.
        zipf: exponent of Zipf's law, by which budgets fall from the first latent to the last; 0 for equal budgets.
        zipf_offset: q of that law, (i + q)^-s, by which the first latents are flattened.
        threshold_decay: how much of the running mean of a threshold stays at a step.
        aux_k: how many underused latents predict the residual; when 0, half the numbers of an example.
        aux_weight: weight of their error, as a share of the residual's variance; 0 leaves it out.
        underused: a latent is, when it is on less often than this share of what Zipf's law has at its rank.
        dead_after: examples over which is counted how often a latent is on; when 0, a hundred times N / k.
        unit_norm: hold every atom at length 1.
        normalise: scale the data to mean square 1 inside the model.

    Raises:
        RequestError: an argument out of range; k larger than the number of latents; data with a target.

    Example:
        >>> import torch
        >>> from narrows.core import Batch
        >>> model = feature_choice_sae((8,), latents=32, k=4)
        >>> model.bottleneck.budgets(64).sum()
        tensor(256)

    Reference:
        Ayonrinde, Adaptive Sparse Allocation with Mutual Choice & Feature Choice Sparse Autoencoders, 2024.
        arXiv:2411.02124
    """
    spec = as_spec(spec)
    latents = latents or default_latents(spec)
    bottleneck = FeatureChoice(latents, k, exponent=zipf, offset=zipf_offset, decay=threshold_decay)
    objective = aux_zipf_objective(
        spec,
        latents,
        k,
        law=(zipf, zipf_offset),
        aux_k=aux_k,
        weight=aux_weight,
        share=underused,
        window=dead_after,
    )
    return sparse_autoencoder(spec, bottleneck, objective, unit_norm=unit_norm, normalise=normalise)
