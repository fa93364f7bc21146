"""The crosscoder: one sparse code of several layers, or of two models."""

from narrows.bottlenecks.sparse.batchtopk import BatchTopK
from narrows.bottlenecks.sparse.relu import ReLU
from narrows.bottlenecks.sparse.topk import TopK
from narrows.core import Autoencoder, Spec
from narrows.core.check import choice
from narrows.core.schedules import Schedule
from narrows.methods.sparse._assemble import assemble, dead_latents, price, sized, unpriced
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
        activation: ``relu``, ``topk`` or ``batchtopk``.
        l1: weight of the price, with ``relu``.

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
    spec, latents = sized(spec, "crosscoder", latents)
    layers_of(spec, "crosscoder")
    relu = choice("activation", activation, ("relu", "topk", "batchtopk")) == "relu"
    terms = price("l1", l1, price_target) if relu else unpriced(price_target)
    revived = dead_latents(dead, latents, k, spec.size, auto="none" if relu else "auxk")
    bottleneck = ReLU(latents) if relu else (TopK if activation == "topk" else BatchTopK)(latents, k)
    dictionary = StackedDictionary(latents, spec.shape, unit_norm=not relu, normalise=normalise)
    bottleneck.bind(dictionary)
    encoder = StackedEncoder(latents, spec.shape, centre=dictionary, normalise=normalise)
    return assemble(spec, encoder, bottleneck, dictionary, StackedObjective(dead=revived, **terms))
