"""The Mutual Choice sparse autoencoder.

Ayonrinde, Adaptive Sparse Allocation with Mutual Choice & Feature Choice Sparse Autoencoders, 2024. arXiv:2411.02124
"""

from __future__ import annotations

from narrows.bottlenecks.sparse.batchtopk import BatchTopK
from narrows.core import Autoencoder, Spec, as_spec
from narrows.core.check import whole
from narrows.core.schedules import Schedule
from narrows.methods.sparse.topk_sae import default_latents, sparse_autoencoder
from narrows.objectives.sparse import SparseObjective
from narrows.objectives.zipf import AuxZipf

__all__ = ["aux_zipf_objective", "mutual_choice_sae"]


def mutual_choice_sae(
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
    r"""Tokens and features choose each other: the k B largest pairs of a batch, and no feature may stay underused.

    .. math:: z = h\, 1[h \ge \theta_B], \quad \theta_B = \text{the } k B\text{-th largest of the batch}, \qquad
        L = \|x - \hat x\|^2 + \alpha L_{aux\_zipf}

    The activation is that of `batchtopk_sae`, which appeared at the same time. The auxiliary loss is for all latents
    that are on less often than Zipf's law has at their rank (`objectives.zipf.AuxZipf`), not for the dead alone. The
    exponent of that law, the ranks by frequency, and the share `underused` are our reading of the paper's summaries:
    its full text was not at hand.

    Args:
        spec: what the data look like, or the shape of one example; flattened.
        latents: how many, N; when 0, eight for each number of an example, at most 16384.
        k: how many of them are on in an example, on average.
        zipf: exponent of Zipf's law, by which latents are expected to be on.
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
        >>> model = mutual_choice_sae((8,), latents=32, k=4)
        >>> int((model.encode(Batch(torch.randn(5, 8))).z.dense() > 0).sum())
        20

    Reference:
        Ayonrinde, Adaptive Sparse Allocation with Mutual Choice & Feature Choice Sparse Autoencoders, 2024.
        arXiv:2411.02124
    """
    spec = as_spec(spec)
    latents = latents or default_latents(spec)
    bottleneck = BatchTopK(latents, k, decay=threshold_decay)
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


def aux_zipf_objective(
    spec: Spec,
    latents: int,
    k: int,
    *,
    law: tuple[float, float],
    aux_k: int,
    weight: Schedule,
    share: float,
    window: int,
) -> SparseObjective:
    """The squared error and the auxiliary loss for the underused, or the error alone where the weight is 0."""
    if weight == 0:
        return SparseObjective()
    revival = AuxZipf(
        k=whole("aux_k", aux_k, low=0) or max(1, spec.size // 2),
        latents=latents,
        budget=k,
        share=share,
        exponent=law[0],
        offset=law[1],
        weight=weight,
        window=whole("dead_after", window, low=0) or 100 * -(-latents // k),
    )
    return SparseObjective(revival=revival)
