"""The crosscoder: one sparse code of several layers, or of two models."""

from narrows.bottlenecks.sparse.batchtopk import BatchTopK
from narrows.bottlenecks.sparse.relu import ReLU
from narrows.bottlenecks.sparse.topk import TopK
from narrows.core import Autoencoder, Spec
from narrows.core.check import choice
from narrows.core.schedules import Schedule
from narrows.methods.sparse._assemble import (
    assemble,
    dead_latents,
    penalty_terms,
    spec_and_latents,
    without_penalty,
)
from narrows.nets.dictionaries.stacked import StackedDictionary, StackedEncoder, layers_of
from narrows.objectives.dead_latents import DeadLatents
from narrows.objectives.layerwise import StackedObjective
from narrows.objectives.target import Target


def crosscoder(
    spec: Spec | tuple[int, ...],
    *,
    latents: int = 0,
    activation: str = "relu",
    k: int = 16,
    l1: Schedule = 0.1,
    price_target: str | Target = "none",
    dead: str | DeadLatents = "auto",
    normalise: bool = True,
) -> Autoencoder:
    r"""Each latent reads from and writes to all layers, with its own direction in each.

    .. math:: f = \mathrm{ReLU}\Big(\sum_l W^l_{enc} x^l + b_{enc}\Big), \qquad \hat x^l = W^l_{dec} f + b^l_{dec}

    .. math:: L = \sum_l \| x^l - \hat x^l \|^2 + \lambda \sum_j f_j \sum_l \| W^l_{dec, j} \|

    The penalty of a latent is the sum over layers of its decoder norms, not their joint norm: each layer that
    it writes to is penalised, so that latents of a single layer (or of one of two models) can form. Each
    layer is scaled to mean square 1 inside. `audit.checks.layers` separates shared from exclusive latents.
    ``topk`` and ``batchtopk`` set L0 instead of a penalty, with atoms of length 1 over all layers and the
    auxiliary loss of `topk_sae`; they are later variants, not the authors'. The decoder's bias is also
    subtracted from the input, which the equation above leaves to the encoder's bias: the same functions, with
    another initialisation.

    Args:
        spec: description of the data, (layers, width), or (2, width) for the activations of two models.
        activation: ``relu``, ``topk`` or ``batchtopk``.
        l1: weight of the penalty, with ``relu``.

    Raises:
        RequestError: data without layers, or with a target; an argument out of range.

    Example:
        >>> model = crosscoder((3, 8), latents=32)
        >>> model.decoder.norms().shape
        torch.Size([32, 3])

    Reference:
        Lindsey et al., Sparse Crosscoders for Cross-Layer Features and Model Diffing, 2024.
        https://transformer-circuits.pub/2024/crosscoders. BatchTopK: Minder et al., 2025. arXiv:2504.02922
    """
    spec, latents = spec_and_latents(spec, "crosscoder", latents)
    layers_of(spec, "crosscoder")
    relu = choice("activation", activation, ("relu", "topk", "batchtopk")) == "relu"
    terms = penalty_terms("l1", l1, price_target) if relu else without_penalty(price_target)
    revived = dead_latents(dead, latents, k, spec.size, auto="none" if relu else "auxk")
    bottleneck = ReLU(latents) if relu else (TopK if activation == "topk" else BatchTopK)(latents, k)
    dictionary = StackedDictionary(latents, spec.shape, unit_norm=not relu, normalise=normalise)
    bottleneck.bind(dictionary)
    encoder = StackedEncoder(latents, spec.shape, centre=dictionary, normalise=normalise)
    return assemble(spec, encoder, bottleneck, dictionary, StackedObjective(dead=revived, **terms))
