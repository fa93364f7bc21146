"""The crosscoder: one sparse code of several layers, or of two models.

Lindsey, Templeton, Marcus, Conerly, Batson, Olah, Sparse Crosscoders for Cross-Layer Features and Model Diffing, 2024.
https://transformer-circuits.pub/2024/crosscoders
"""

from __future__ import annotations

from narrows.bottlenecks.sparse.batchtopk import BatchTopK
from narrows.bottlenecks.sparse.latents import SparseBottleneck
from narrows.bottlenecks.sparse.relu import ReLU
from narrows.bottlenecks.sparse.topk import TopK
from narrows.core import Autoencoder, Spec, as_spec
from narrows.core.check import RequestError, choice
from narrows.core.schedules import Schedule
from narrows.likelihoods import Squared
from narrows.methods.sparse.shared import target
from narrows.methods.sparse.topk_sae import aux_k_revival, default_latents
from narrows.nets.dictionaries.stacked import StackedDictionary, StackedEncoder, layers_of
from narrows.objectives.layerwise import StackedObjective

__all__ = ["crosscoder"]


def crosscoder(
    spec: Spec | tuple[int, ...],
    *,
    latents: int = 0,
    activation: str = "relu",
    k: int = 16,
    l1: Schedule = 0.1,
    target_l0: float = 0.0,
    target_fvu: float = 0.0,
    aux_k: int = 0,
    aux_weight: Schedule = 1 / 32,
    dead_after: int = 0,
    normalise: bool = True,
) -> Autoencoder:
    r"""Each latent reads all layers and writes to all, with a direction of its own in each.

    .. math:: f = \mathrm{ReLU}\Big(\sum_l W^l_{enc} x^l + b_{enc}\Big), \qquad \hat x^l = W^l_{dec} f + b^l_{dec}

    .. math:: L = \sum_l \| x^l - \hat x^l \|^2 + \lambda \sum_j f_j \sum_l \| W^l_{dec, j} \|

    The price of a latent is the sum over layers of its decoder's norms, not the norm of them together: it pays for
    every layer that it writes to, so that latents of one layer alone (or of one of two models) can be. Each layer
    is brought to mean square 1 inside. `audit.checks.layers` tells shared latents from exclusive ones. ``topk`` and
    ``batchtopk`` set L0 instead of a price, with atoms of length 1 over all layers and the auxiliary loss of
    `topk_sae`; they are later variants, not the authors'. The decoder's bias is subtracted from what is read, too,
    which the equation above leaves to the encoder's bias: the same functions, from another start.

    Args:
        spec: what the data look like: (layers, width), or (2, width) for two models read side by side.
        latents: how many, N; when 0, eight for each number of an example, at most 16384.
        activation: ``relu``, ``topk`` or ``batchtopk``.
        k: how many latents may be on in one example, with ``topk`` (on average with ``batchtopk``).
        l1: weight of the price, with ``relu``.
        target_l0: find the weight by which so many latents are on, with ``relu``; 0 leaves `l1`.
        target_fvu: find the weight by which this share of variance stays unexplained; 0 leaves `l1`.
        aux_k: how many dead latents predict the residual, without ``relu``; when 0, half the numbers of an example.
        aux_weight: weight of their error; 0 leaves it out.
        dead_after: a latent is dead when it was off for more examples than this; when 0, a hundred times N / k.
        normalise: bring each layer to mean square 1 inside the model.

    Raises:
        RequestError: data that are not stacked layers, or have a target; an argument out of range.

    Example:
        >>> model = crosscoder((3, 8), latents=32)
        >>> model.decoder.norms().shape
        torch.Size([32, 3])

    Reference:
        Lindsey et al., Sparse Crosscoders for Cross-Layer Features and Model Diffing, 2024.
        https://transformer-circuits.pub/2024/crosscoders. BatchTopK: Minder et al., 2025. arXiv:2504.02922
    """
    spec = as_spec(spec)
    layers_of(spec, "crosscoder")
    if spec.target is not None:
        raise RequestError(
            "A crosscoder gives back what it sees, but these data have a target of their own. Fit "
            "`cross-layer-transcoder` to produce the target, or open the data without it."
        )
    latents = latents or default_latents(spec)
    bottleneck: SparseBottleneck
    if choice("activation", activation, ("relu", "topk", "batchtopk")) == "relu":
        bottleneck = ReLU(latents)
        steered = target("l1", target_l0, target_fvu)
        objective = StackedObjective(target=steered, weights={} if steered else {"l1": l1})
    else:
        bottleneck = TopK(latents, k) if activation == "topk" else BatchTopK(latents, k)
        revival = aux_k_revival(spec, latents, k, aux_k=aux_k, weight=aux_weight, dead_after=dead_after)
        objective = StackedObjective(revival=revival)
    dictionary = StackedDictionary(latents, spec.shape, unit_norm=activation != "relu", normalise=normalise)
    bottleneck.bind(dictionary)
    encoder = StackedEncoder(latents, spec.shape, centre=dictionary, normalise=normalise)
    return Autoencoder(encoder, bottleneck, dictionary, Squared(spec.output_shape), objective)
