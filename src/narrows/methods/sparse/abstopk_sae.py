"""The AbsTopK sparse autoencoder.

Zhu, Khalili, Zhu, AbsTopK: Rethinking Sparse Autoencoders For Bidirectional Features, 2025. arXiv:2510.00404
"""

from __future__ import annotations

from narrows.bottlenecks.sparse.abstopk import AbsTopK
from narrows.core import Autoencoder, Spec, as_spec
from narrows.core.schedules import Schedule
from narrows.methods.sparse.topk_sae import aux_k_objective, default_latents, sparse_autoencoder

__all__ = ["abstopk_sae"]


def abstopk_sae(
    spec: Spec | tuple[int, ...],
    *,
    latents: int = 0,
    k: int = 16,
    aux_k: int = 0,
    aux_weight: Schedule = 1 / 32,
    dead_after: int = 0,
    unit_norm: bool = True,
    normalise: bool = True,
) -> Autoencoder:
    r"""A linear autoencoder of which the k latents of largest size pass, positive or negative.

    .. math:: z = H_k(W (x - b_d) + b_e), \qquad \hat x = A^\top z + b_d

    One latent may stand for both poles of a concept, which costs two where codes are non-negative. The loss is the
    squared error; our addition is the auxiliary loss of `topk_sae`, where the dead are chosen by size as well.

    Args:
        spec: what the data look like, or the shape of one example; flattened.
        latents: how many, N; when 0, eight for each number of an example, at most 16384.
        k: how many of them may be on in one example.
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
        >>> model = abstopk_sae((8,), latents=32, k=4)
        >>> bool((model.encode(Batch(torch.randn(50, 8))).z.values < 0).any())
        True

    Reference:
        Zhu, Khalili, Zhu, AbsTopK: Rethinking Sparse Autoencoders For Bidirectional Features, 2025. arXiv:2510.00404
    """
    spec = as_spec(spec)
    latents = latents or default_latents(spec)
    objective = aux_k_objective(spec, latents, k, aux_k=aux_k, weight=aux_weight, dead_after=dead_after)
    return sparse_autoencoder(spec, AbsTopK(latents, k), objective, unit_norm=unit_norm, normalise=normalise)
