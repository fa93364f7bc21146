"""The BatchTopK sparse autoencoder.

Bussmann, Leask, Nanda, BatchTopK Sparse Autoencoders, 2024. arXiv:2412.06410
"""

from __future__ import annotations

from narrows.bottlenecks.sparse.batchtopk import BatchTopK
from narrows.core import Autoencoder, Spec, as_spec
from narrows.core.schedules import Schedule
from narrows.methods.sparse.topk_sae import aux_k_objective, default_latents, sparse_autoencoder

__all__ = ["batchtopk_sae"]


def batchtopk_sae(
    spec: Spec | tuple[int, ...],
    *,
    latents: int = 0,
    k: int = 16,
    threshold_decay: float = 0.9,
    aux_k: int = 0,
    aux_weight: Schedule = 1 / 32,
    dead_after: int = 0,
    unit_norm: bool = True,
    normalise: bool = True,
) -> Autoencoder:
    r"""A TopK autoencoder whose budget is the batch's: k latents an example on average, more where more is to say.

    .. math:: z = \mathrm{BatchTopK}(W (x - b_d) + b_e), \qquad \hat x = A^\top z + b_d, \qquad
        L = \|x - \hat x\|^2 + \alpha L_{aux}

    In training the k B largest positive pre-activations of a batch pass; at inference all above a threshold that
    was estimated meanwhile (`bottlenecks.batchtopk.BatchTopK` says who estimates it how).

    Args:
        spec: what the data look like, or the shape of one example; flattened.
        latents: how many, N; when 0, eight for each number of an example, at most 16384.
        k: how many of them are on in an example, on average.
        threshold_decay: how much of the running mean of the threshold stays at a step.
        aux_k: how many dead latents predict the residual; when 0, half the numbers of an example.
        aux_weight: weight of their error, as a share of the residual's variance; 0 leaves it out.
        dead_after: a latent is dead when it was off for more examples than this; when 0, a hundred times N / k.
        unit_norm: hold every atom at length 1.
        normalise: scale the data to mean square 1 inside the model.

    Raises:
        RequestError: an argument out of range; k larger than the number of latents; data with a target.

    Example:
        >>> import torch
        >>> from narrows.core import Batch
        >>> model = batchtopk_sae((8,), latents=32, k=4)
        >>> int((model.encode(Batch(torch.randn(5, 8))).z.dense() > 0).sum())
        20

    Reference:
        Bussmann, Leask, Nanda, BatchTopK Sparse Autoencoders, 2024. arXiv:2412.06410
    """
    spec = as_spec(spec)
    latents = latents or default_latents(spec)
    bottleneck = BatchTopK(latents, k, decay=threshold_decay)
    objective = aux_k_objective(spec, latents, k, aux_k=aux_k, weight=aux_weight, dead_after=dead_after)
    return sparse_autoencoder(spec, bottleneck, objective, unit_norm=unit_norm, normalise=normalise)
