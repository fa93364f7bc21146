"""The TopK sparse autoencoder.

Makhzani and Frey, k-Sparse Autoencoders, ICLR 2014. arXiv:1312.5663
Gao et al., Scaling and Evaluating Sparse Autoencoders, 2024. arXiv:2406.04093
"""

from __future__ import annotations

from narrows.bottlenecks.sparse.latents import SparseBottleneck
from narrows.bottlenecks.sparse.topk import TopK
from narrows.core import Autoencoder, Objective, Spec, as_spec
from narrows.core.check import RequestError
from narrows.core.schedules import Schedule
from narrows.likelihoods import Squared
from narrows.methods.sparse.shared import revival
from narrows.nets.dictionaries.dictionary import AffineEncoder, Dictionary
from narrows.objectives.dead_latents import Revival
from narrows.objectives.multi_topk import MultiTopK
from narrows.objectives.sparse import SparseObjective

__all__ = ["aux_k_objective", "aux_k_revival", "default_latents", "sparse_autoencoder", "topk_sae"]


def topk_sae(
    spec: Spec | tuple[int, ...],
    *,
    latents: int = 0,
    k: int = 16,
    aux_k: int = 0,
    aux_weight: Schedule = 1 / 32,
    dead_after: int = 0,
    dead: str = "auxk",
    multi_topk: Schedule = 0.0,
    begin_k: int = 0,
    anneal: int = 0,
    unit_norm: bool = True,
    normalise: bool = True,
) -> Autoencoder:
    r"""A linear autoencoder of which the k largest latents pass, and the dead are taught what is left over.

    .. math:: z = \mathrm{ReLU}(\mathrm{TopK}(W (x - b_d) + b_e)), \qquad \hat x = A^\top z + b_d

    The loss is the squared error and the auxiliary one of `objectives.revival.AuxK`. k-Sparse Autoencoders (2013,
    `k_sparse_ae`) selects by size alone and decodes with the encoder's weights; this is the later form: ReLU after
    the selection, a decoder that is tied only at first, atoms of unit length, and the auxiliary loss instead of
    annealing k. Multi-TopK adds the error of a code of 4 k latents, so that other k work on the trained model too.

    Args:
        spec: what the data look like, or the shape of one example; flattened.
        latents: how many, N; when 0, eight for each number of an example, at most 16384.
        k: how many of them may be on in one example.
        aux_k: how many dead latents predict the residual; when 0, half the numbers of an example.
        aux_weight: weight of their error, as a share of the residual's variance; 0 leaves it out.
        dead_after: a latent is dead when it was off for more examples than this. When 0, a hundred times N / k,
            the mean gap between two firings of a latent in fair use; the paper waits for ten million tokens.
        dead: what is done for dead latents: ``auxk``, ``resample``, ``ghost`` or ``none``.
        multi_topk: weight of the error with 4 k latents; 1/8 in the paper's multi-TopK.
        begin_k: how many may be on at first; k when 0.
        anneal: steps over which their number goes from there to k.
        unit_norm: hold every atom at length 1.
        normalise: scale the data to mean square 1 inside the model.

    Raises:
        RequestError: an argument out of range; k larger than the number of latents; data with a target.

    Example:
        >>> model = topk_sae((8,), latents=32, k=4)
        >>> import torch
        >>> from narrows.core import Batch
        >>> model.encode(Batch(torch.randn(5, 8))).z.values.shape
        torch.Size([5, 4])

    Reference:
        Gao et al., Scaling and Evaluating Sparse Autoencoders, 2024. arXiv:2406.04093
    """
    spec = as_spec(spec)
    latents = latents or default_latents(spec)
    bottleneck = TopK(latents, k, begin=begin_k, over=anneal)
    revived = revival(dead, spec, latents, k, dead_after=dead_after, aux_k=aux_k, aux_weight=aux_weight)
    if multi_topk == 0:
        objective = SparseObjective(revival=revived)
    else:
        objective = MultiTopK(weight=multi_topk, revival=revived)
    return sparse_autoencoder(spec, bottleneck, objective, unit_norm=unit_norm, normalise=normalise)


def sparse_autoencoder(
    spec: Spec,
    bottleneck: SparseBottleneck,
    objective: Objective,
    *,
    unit_norm: bool,
    normalise: bool,
    tied: bool = False,
) -> Autoencoder:
    """A linear encoder and a dictionary, tied at first and with a common centre, around any sparse bottleneck.

    Args:
        spec: what the data look like.
        bottleneck: which latents pass.
        objective: what is minimised.
        unit_norm: hold every atom at length 1.
        normalise: scale the data to mean square 1 inside the model.
        tied: the encoder's rows are the atoms for good.

    Raises:
        RequestError: the data have a target of their own.
    """
    if spec.target is not None:
        raise RequestError(
            "A sparse autoencoder gives back what it sees, but these data have a target of their own. Fit "
            "`transcoder` to produce the target, or open the data without it."
        )
    dictionary = Dictionary(bottleneck.width, spec.output_shape, unit_norm=unit_norm, normalise=normalise)
    bottleneck.bind(dictionary)
    encoder = AffineEncoder(bottleneck.width, spec.shape, centre=dictionary, normalise=normalise, tied=tied)
    return Autoencoder(encoder, bottleneck, dictionary, Squared(spec.output_shape), objective)


def default_latents(spec: Spec) -> int:
    """Eight latents for each number of an example, at most 16384."""
    return min(8 * spec.size, 16_384)


def aux_k_objective(
    spec: Spec, latents: int, k: int, *, aux_k: int, weight: Schedule, dead_after: int
) -> Objective:
    """The auxiliary loss with defaults that suit the sizes, or the plain distortion where its weight is 0."""
    return SparseObjective(
        revival=aux_k_revival(spec, latents, k, aux_k=aux_k, weight=weight, dead_after=dead_after)
    )


def aux_k_revival(
    spec: Spec, latents: int, k: int, *, aux_k: int, weight: Schedule, dead_after: int
) -> Revival | None:
    """The auxiliary term with defaults that suit the sizes, or None where its weight is 0."""
    return revival("auxk", spec, latents, k, dead_after=dead_after, aux_k=aux_k, aux_weight=weight)
