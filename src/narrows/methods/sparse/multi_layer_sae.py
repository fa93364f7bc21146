"""The multi-layer sparse autoencoder: one dictionary for the residual stream at every depth."""

from narrows.bottlenecks.sparse.per_layer import LayerTopK
from narrows.bottlenecks.sparse.topk import TopK
from narrows.core import Autoencoder, Spec
from narrows.core.check import RequestError
from narrows.methods.sparse._assemble import (
    assemble,
    dead_latents,
    default_latents,
    sparse_autoencoder,
    without_target,
)
from narrows.nets.dictionaries.stacked import PooledDictionary, PooledEncoder
from narrows.objectives.dead_latents import DeadLatents
from narrows.objectives.layerwise import StackedObjective
from narrows.objectives.sparse import SparseObjective


def multi_layer_sae(
    spec: Spec | tuple[int, ...],
    *,
    latents: int = 0,
    k: int = 16,
    dead: str | DeadLatents = "auxk",
    unit_norm: bool = True,
    normalise: bool = True,
) -> Autoencoder:
    r"""A TopK autoencoder in which each layer's activation of a token is an example.

    .. math:: z^l = \mathrm{ReLU}(\mathrm{TopK}(W (x^l - b_d) + b_e)), \qquad \hat x^l = A^\top z^l + b_d
        \qquad \text{for every layer } l

    Weights do not depend on the layer, so a latent has the same meaning wherever it is active, and its
    distribution over layers is the depth of its feature: see `audit.depth`. The data are stacked, (layers,
    D), which keeps a token's layers together; or pooled, (D,), with one row per token and layer. The authors
    standardise every activation by its own mean and standard deviation; here each layer has one scale (if
    pooled, all have the same, and layers with a larger norm have more weight).

    Args:
        spec: description of the data, (layers, D), or (D,) for pooled layers.

    Raises:
        RequestError: data of another shape, or with a target; an argument out of range.

    Example:
        >>> model = multi_layer_sae((3, 8), latents=32, k=4)
        >>> model.encode(Batch(torch.randn(5, 3, 8))).z.values.shape
        torch.Size([5, 3, 4])

    Reference:
        Lawson et al., Residual Stream Analysis with Multi-Layer SAEs, 2024. arXiv:2409.04185
    """
    spec = without_target(spec, "multi-layer-sae")
    if len(spec.shape) > 2:
        raise RequestError(
            f"`multi-layer-sae` reads activations of shape (layers, width), or (width,) if layers are pooled, "
            f"not {spec.shape}. Open a harvest with ``layout='stack'`` or ``layout='pool'``."
        )
    layers, width = (1, *spec.shape)[-2:]
    latents = default_latents(latents, width)
    revived = dead_latents(dead, latents, k * layers, width)
    if len(spec.shape) == 1:
        objective = SparseObjective(dead=revived)
        return sparse_autoencoder(spec, TopK(latents, k), objective, unit_norm=unit_norm, normalise=normalise)
    dictionary = PooledDictionary(latents, spec.shape, unit_norm=unit_norm, normalise=normalise)
    encoder = PooledEncoder(latents, spec.shape, centre=dictionary, normalise=normalise)
    bottleneck = LayerTopK(latents, k, layers)
    return assemble(spec, encoder, bottleneck, dictionary, StackedObjective(dead=revived))
