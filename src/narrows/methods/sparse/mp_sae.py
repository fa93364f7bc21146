"""The matching-pursuit sparse autoencoder.

Costa, Fel, Lubana, Tolooshams, Ba, From Flat to Hierarchical: Extracting Sparse Representations with Matching Pursuit,
NeurIPS 2025. arXiv:2506.03093
"""

from __future__ import annotations

from narrows.bottlenecks.sparse.pursuit import MatchingPursuit
from narrows.core import Autoencoder, Spec
from narrows.core.schedules import Schedule
from narrows.likelihoods import Squared
from narrows.methods.sparse._alike import alike
from narrows.methods.sparse.shared import revival
from narrows.methods.sparse.topk_sae import default_latents
from narrows.nets.dictionaries.dictionary import Dictionary
from narrows.nets.dictionaries.tied import TiedEncoder
from narrows.objectives.sparse import SparseObjective

__all__ = ["mp_sae"]


def mp_sae(
    spec: Spec | tuple[int, ...],
    *,
    latents: int = 0,
    k: int = 16,
    k_eval: int = 0,
    signed: bool = False,
    tolerance: float = 0.0,
    dead: str = "none",
    aux_k: int = 0,
    aux_weight: Schedule = 1 / 32,
    dead_after: int = 0,
    normalise: bool = True,
) -> Autoencoder:
    r"""A dictionary whose encoder is matching pursuit with the same atoms, trained through its unrolled steps.

    .. math:: r_0 = x - b; \qquad j_t = \arg\max_j \langle a_j, r_{t-1} \rangle, \quad
        z_{j_t} \leftarrow z_{j_t} + \langle a_{j_t}, r_{t-1} \rangle, \quad
        r_t = r_{t-1} - \langle a_{j_t}, r_{t-1} \rangle a_{j_t}, \qquad \hat x = A^\top z + b

    Each atom is chosen for what the earlier ones left over, so that codes may use atoms that resemble each other, as
    the children of one parent do, and the error falls with every further step: k may be changed after training. Atoms
    have length 1. The loss is the squared error; what is done for dead latents elsewhere is there as an option.

    Args:
        spec: what the data look like, or the shape of one example; flattened.
        latents: how many, N; when 0, eight for each number of an example, at most 16384.
        k: how many steps; an atom may be chosen more than once.
        k_eval: how many steps in use; k when 0.
        signed: choose by the absolute value of the fit, as the classical pursuit does; the paper's does not.
        tolerance: stop where the residual is shorter than this share of the centred example.
        dead: what is done for dead latents: ``none`` as in the paper, or ``auxk``, ``ghost``, ``preact`` (see
            `narrows.objectives.dead_latents`).
        aux_k: how many dead latents predict the residual, with ``auxk``; when 0, half the numbers of an example.
        aux_weight: weight of that term; 0 leaves it out.
        dead_after: a latent is dead when it was off for more examples than this; when 0, a hundred times N / k.
        normalise: scale the data to mean square 1 inside the model.

    Raises:
        RequestError: an argument out of range; k larger than the number of latents; data with a target.

    Example:
        >>> import torch
        >>> from narrows.core import Batch
        >>> model = mp_sae((8,), latents=32, k=4)
        >>> model.encode(Batch(torch.randn(5, 8))).z.values.shape
        torch.Size([5, 4])

    Reference:
        Costa, Fel, Lubana, Tolooshams, Ba, From Flat to Hierarchical: Extracting Sparse Representations with Matching
        Pursuit, 2025. arXiv:2506.03093
    """
    spec = alike(spec, "mp-sae")
    latents = latents or default_latents(spec)
    bottleneck = MatchingPursuit(latents, k, k_eval=k_eval, signed=signed, tolerance=tolerance)
    revived = revival(dead, spec, latents, k, dead_after=dead_after, aux_k=aux_k, aux_weight=aux_weight)
    dictionary = Dictionary(latents, spec.output_shape, normalise=normalise)
    return Autoencoder(
        TiedEncoder(dictionary),
        bottleneck,
        dictionary,
        Squared(spec.output_shape),
        SparseObjective(revival=revived),
    )
