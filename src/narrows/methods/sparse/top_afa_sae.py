"""The top-AFA sparse autoencoder.

Lee, Davies, Canby, Hockenmaier, Evaluating and Designing Sparse Autoencoders by Approximating Quasi-Orthogonality,
2025. arXiv:2503.24277
"""

from __future__ import annotations

from narrows.bottlenecks.sparse.afa import TopAFA
from narrows.core import Autoencoder, Spec, as_spec
from narrows.core.schedules import Schedule
from narrows.methods.sparse.topk_sae import aux_k_revival, default_latents, sparse_autoencoder
from narrows.objectives.sparse import SparseObjective

__all__ = ["top_afa_sae"]


def top_afa_sae(
    spec: Spec | tuple[int, ...],
    *,
    latents: int = 0,
    afa: Schedule = 1 / 16,
    aux_k: int = 0,
    aux_weight: Schedule = 1 / 32,
    dead_after: int = 0,
    unit_norm: bool = True,
    normalise: bool = True,
) -> Autoencoder:
    r"""A sparse autoencoder without a k: each example has as many latents as give the code the norm of the input.

    .. math:: L = \|x - \hat x\|^2 + \lambda D\, (\|z\| - \|x - b\|)^2 + \alpha L_{aux}

    `bottlenecks.afa.TopAFA` has the rule. The weight is the paper's, 1/16, where it was stable on all layers. Two
    things differ from the authors' code: its cost has the norm of x, not of x - b, although its selection has the
    latter; and its encoder has no bias.

    Args:
        spec: what the data look like, or the shape of one example; flattened.
        latents: how many, N; when 0, eight for each number of an example, at most 16384.
        afa: weight of the difference of the norms.
        aux_k: how many dead latents predict the residual; when 0, half the numbers of an example.
        aux_weight: weight of their error, as a share of the residual's variance; 0 leaves it out.
        dead_after: a latent is dead when it was off for more examples than this; when 0, 10 times N.
        unit_norm: hold every atom at length 1.
        normalise: scale the data to mean square 1 inside the model.

    Raises:
        RequestError: an argument out of range; data with a target.

    Example:
        >>> import torch
        >>> from narrows.core import Batch
        >>> model = top_afa_sae((8,), latents=32)
        >>> model.encode(Batch(torch.randn(5, 8))).costs["afa"].shape
        torch.Size([5])

    Reference:
        Lee, Davies, Canby, Hockenmaier, Evaluating and Designing Sparse Autoencoders by Approximating
        Quasi-Orthogonality, 2025. arXiv:2503.24277
    """
    spec = as_spec(spec)
    latents = latents or default_latents(spec)
    revival = aux_k_revival(spec, latents, 10, aux_k=aux_k, weight=aux_weight, dead_after=dead_after)
    objective = SparseObjective(revival=revival, weights={"afa": afa})
    return sparse_autoencoder(spec, TopAFA(latents), objective, unit_norm=unit_norm, normalise=normalise)
