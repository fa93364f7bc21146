"""The cross-layer transcoder: sparse replacements of all MLPs, whose latents also write to later layers."""

from narrows.bottlenecks.sparse.jumprelu import JumpReLU
from narrows.bottlenecks.sparse.latents import SparseBottleneck
from narrows.bottlenecks.sparse.per_layer import CrossLayerTopK
from narrows.bottlenecks.sparse.relu import ReLU
from narrows.core import Autoencoder, Spec, as_spec
from narrows.core.check import RequestError, choice
from narrows.core.schedules import Schedule
from narrows.methods.sparse._assemble import (
    assemble,
    dead_latents,
    default_latents,
    penalty_terms,
    without_penalty,
)
from narrows.nets.dictionaries.cross_layer import CrossLayerDictionary, LayerEncoder, SkipCrossLayerDictionary
from narrows.nets.dictionaries.stacked import layers_of
from narrows.objectives.dead_latents import DeadLatents
from narrows.objectives.layerwise import StackedObjective
from narrows.objectives.target import Target


def cross_layer_transcoder(
    spec: Spec | tuple[int, ...],
    *,
    latents: int = 0,
    activation: str = "jumprelu",
    k: int = 16,
    sparsity: Schedule = 0.1,
    steepness: float = 4.0,
    threshold: float = 0.03,
    bandwidth: float = 1.0,
    positive: str = "log",
    price_target: str | Target = "none",
    skip: bool = False,
    dead: str | DeadLatents = "auto",
    normalise: bool = True,
) -> Autoencoder:
    r"""Latents read one layer's MLP input, and write to the MLP outputs of that layer and of all later ones.

    .. math:: a^l = \mathrm{JumpReLU}(W^l_{enc} x^l + b^l), \qquad
        \hat y^l = \sum_{l' \le l} W^{l' \to l}_{dec} a^{l'} + b^l_{dec} \;(+\, S^l x^l)

    .. math:: L = \sum_l \| y^l - \hat y^l \|^2 + \lambda \sum_l \sum_i \tanh(c\, \| W^l_{dec, i} \|\, a^l_i)

    ``batch.x`` holds the inputs of the MLPs, ``batch.target`` their outputs. A feature that a chain of MLPs
    passes on becomes one latent. The norm is over all that a latent writes, over all layers; thresholds are
    trained through a rectangular kernel, with its term for the pre-activations too (`bottlenecks.jumprelu`).
    ``relu`` has the sum of ``||W|| a`` as the penalty, ``topk`` none: k latents of each layer are active,
    with the auxiliary loss of `topk_sae`.

    Args:
        spec: description of the data, (layers, D), with the same shape in ``spec.target``.
        activation: ``jumprelu``, ``relu`` or ``topk``.
        sparsity: weight of the penalty, with ``jumprelu`` and ``relu``.
        steepness: c.
        threshold: initial thresholds of ``jumprelu``, in units of the data.
        bandwidth: width of their kernel, in the same units.
        positive: ``log`` learns the logarithm of the thresholds, ``raw`` the thresholds.
        skip: add a linear skip connection S in each layer.

    Raises:
        RequestError: data without layers, or without a target of as many; an argument out of range.

    Example:
        >>> model = cross_layer_transcoder(Spec((3, 8), target=(3, 8)), latents=16)
        >>> model.decoder.norms().shape, bool((model.decoder.norms()[-1, :2] == 0).all())
        (torch.Size([48, 3]), True)

    Reference:
        Ameisen et al., Circuit Tracing, 2025.
        https://transformer-circuits.pub/2025/attribution-graphs/methods.html. One layer: Dunefsky et al.,
        2024. arXiv:2406.11944
    """
    spec = as_spec(spec)
    layers, width = layers_of(spec, "cross-layer-transcoder")
    if spec.target is None or len(spec.target) != 2 or spec.target[0] != layers:
        raise RequestError(
            "A cross-layer transcoder learns the outputs of the MLPs of several layers from their inputs. Give both: "
            f"the inputs, (layers, width), and as the target the outputs of the same {layers} layers. To encode "
            "the data alone, fit `crosscoder`."
        )
    latents = default_latents(latents, width)
    counted = choice("activation", activation, ("jumprelu", "relu", "topk")) == "topk"
    revived = dead_latents(dead, latents, k, width, auto="auxk" if counted else "none")
    bottleneck: SparseBottleneck
    if activation == "jumprelu":
        bottleneck = JumpReLU(
            layers * latents,
            penalty="tanh",
            threshold=threshold,
            bandwidth=bandwidth,
            positive=positive,
            to_input=True,
            steepness=steepness,
        )
    else:
        bottleneck = CrossLayerTopK(latents, k, layers) if counted else ReLU(layers * latents)
    cost = "tanh" if activation == "jumprelu" else "l1"
    terms = without_penalty(price_target) if counted else penalty_terms(cost, sparsity, price_target)
    dictionary = (
        SkipCrossLayerDictionary(latents, spec.target, width, unit_norm=counted, normalise=normalise)
        if skip
        else CrossLayerDictionary(latents, spec.target, unit_norm=counted, normalise=normalise)
    )
    bottleneck.bind(dictionary)
    encoder = LayerEncoder(latents, spec.shape, normalise=normalise, skip=skip)
    return assemble(spec, encoder, bottleneck, dictionary, StackedObjective(dead=revived, **terms))
