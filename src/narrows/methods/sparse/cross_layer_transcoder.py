"""The cross-layer transcoder: sparse imitations of all MLPs at once, each of which may answer for later ones too.

Ameisen et al., Circuit Tracing: Revealing Computational Graphs in Language Models, 2025.
https://transformer-circuits.pub/2025/attribution-graphs/methods.html
Dunefsky, Chlenski, Nanda, Transcoders Find Interpretable LLM Feature Circuits, NeurIPS 2024. arXiv:2406.11944
"""

from __future__ import annotations

from narrows.bottlenecks.sparse.jumprelu import JumpReLU
from narrows.bottlenecks.sparse.latents import SparseBottleneck
from narrows.bottlenecks.sparse.per_layer import CrossLayerTopK
from narrows.bottlenecks.sparse.relu import ReLU
from narrows.core import Autoencoder, Spec, as_spec
from narrows.core.check import RequestError, choice
from narrows.core.schedules import Schedule
from narrows.likelihoods import Squared
from narrows.methods.sparse.shared import target
from narrows.methods.sparse.topk_sae import aux_k_revival
from narrows.nets.dictionaries.cross_layer import CrossLayerDictionary, LayerEncoder
from narrows.nets.dictionaries.stacked import layers_of
from narrows.objectives.layerwise import StackedObjective

__all__ = ["cross_layer_transcoder"]


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
    target_l0: float = 0.0,
    target_fvu: float = 0.0,
    aux_k: int = 0,
    aux_weight: Schedule = 1 / 32,
    dead_after: int = 0,
    normalise: bool = True,
) -> Autoencoder:
    r"""Latents read one layer's MLP input, and write to the MLP outputs of that layer and of all later ones.

    .. math:: a^l = \mathrm{JumpReLU}(W^l_{enc} x^l + b^l), \qquad
        \hat y^l = \sum_{l' \le l} W^{l' \to l}_{dec} a^{l'} + b^l_{dec}

    .. math:: L = \sum_l \| y^l - \hat y^l \|^2 + \lambda \sum_l \sum_i \tanh(c\, \| W^l_{dec, i} \|\, a^l_i)

    ``batch.x`` holds what enters the MLPs, ``batch.target`` what they put out. A chain of MLPs that only pass a
    feature on becomes one latent. The norm is of all that a latent writes, over all layers; thresholds learn
    through a rectangular kernel, with its term for the pre-activations too (`bottlenecks.jumprelu`). ``relu`` has the
    sum of ``||W|| a`` for a price, ``topk`` none: k latents of each layer pass, with the auxiliary loss of `topk_sae`.

    Args:
        spec: what the data look like, (layers, D), with the same in ``spec.target``.
        latents: how many in each layer; when 0, eight for each number of one layer, at most 16384.
        activation: ``jumprelu``, ``relu`` or ``topk``.
        k: how many latents of each layer may be on in one example, with ``topk``.
        sparsity: weight of the price, with ``jumprelu`` and ``relu``.
        steepness: c.
        threshold: where the thresholds of ``jumprelu`` start, in units of the data.
        bandwidth: width of their kernel, in the same units.
        target_l0: find the weight by which so many latents are on, over all layers; 0 leaves `sparsity`.
        target_fvu: find the weight by which this share of variance stays unexplained; 0 leaves `sparsity`.
        aux_k: how many dead latents predict the residual, with ``topk``; when 0, half the numbers of one layer.
        aux_weight: weight of their error; 0 leaves it out.
        dead_after: a latent is dead when it was off for more examples than this; when 0, a hundred times N / k.
        normalise: bring each layer, of both sides, to mean square 1 inside the model.

    Raises:
        RequestError: data that are not layers, or without a target of as many; an argument out of range.

    Example:
        >>> from narrows.core import Spec
        >>> model = cross_layer_transcoder(Spec((3, 8), target=(3, 8)), latents=16)
        >>> model.decoder.norms().shape, bool((model.decoder.norms()[-1, :2] == 0).all())
        (torch.Size([48, 3]), True)

    Reference:
        Ameisen et al., Circuit Tracing, 2025. https://transformer-circuits.pub/2025/attribution-graphs/methods.html.
        One layer: Dunefsky et al., 2024. arXiv:2406.11944
    """
    spec = as_spec(spec)
    layers, width = layers_of(spec, "cross-layer-transcoder")
    if spec.target is None or len(spec.target) != 2 or spec.target[0] != layers:
        raise RequestError(
            "A cross-layer transcoder learns what the MLPs of several layers make of what enters them. Give both: "
            f"the inputs, (layers, width), and as the target the outputs of the same {layers} layers. To encode "
            "the data alone, fit `crosscoder`."
        )
    latents = latents or min(8 * width, 16_384)
    bottleneck: SparseBottleneck
    if choice("activation", activation, ("jumprelu", "relu", "topk")) == "topk":
        bottleneck = CrossLayerTopK(latents, k, layers)
        revival = aux_k_revival(
            Spec((width,)), latents, k, aux_k=aux_k, weight=aux_weight, dead_after=dead_after
        )
        objective = StackedObjective(revival=revival)
    else:
        cost = "tanh" if activation == "jumprelu" else "l1"
        bottleneck = ReLU(layers * latents)
        if activation == "jumprelu":
            bottleneck = JumpReLU(
                layers * latents,
                penalty="tanh",
                threshold=threshold,
                bandwidth=bandwidth,
                to_input=True,
                steepness=steepness,
            )
        steered = target(cost, target_l0, target_fvu)
        objective = StackedObjective(target=steered, weights={} if steered else {cost: sparsity})
    dictionary = CrossLayerDictionary(
        latents, spec.target, unit_norm=activation == "topk", normalise=normalise
    )
    bottleneck.bind(dictionary)
    encoder = LayerEncoder(latents, spec.shape, normalise=normalise)
    return Autoencoder(encoder, bottleneck, dictionary, Squared(spec.output_shape), objective)
