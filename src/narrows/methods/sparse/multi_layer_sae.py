"""The multi-layer sparse autoencoder: one dictionary for the residual stream at every depth.

Lawson, Farnik, Houghton, Aitchison, Residual Stream Analysis with Multi-Layer SAEs, ICLR 2025. arXiv:2409.04185
"""

from __future__ import annotations

from narrows.bottlenecks.sparse.per_layer import LayerTopK
from narrows.core import Autoencoder, Spec, as_spec
from narrows.core.check import RequestError
from narrows.core.schedules import Schedule
from narrows.likelihoods import Squared
from narrows.methods.sparse.topk_sae import aux_k_revival, topk_sae
from narrows.nets.dictionaries.stacked import PooledDictionary, PooledEncoder
from narrows.objectives.layerwise import StackedObjective

__all__ = ["multi_layer_sae"]


def multi_layer_sae(
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
    r"""A TopK autoencoder that sees each layer's activation of a token as one more example.

    .. math:: z^l = \mathrm{ReLU}(\mathrm{TopK}(W (x^l - b_d) + b_e)), \qquad \hat x^l = A^\top z^l + b_d
        \qquad \text{for every layer } l

    Weights know nothing of the layer, so that a latent means the same wherever it is on, and its distribution over
    layers says at which depth its feature lives: see `audit.depth`. The data are stacked, (layers, D), which keeps a
    token's layers together; or pooled, (D,), one row a token and layer. The authors standardise every activation by
    its own mean and deviation; here each layer has one scale (pooled: all have one, and loud layers count for more).

    Args:
        spec: what the data look like: (layers, D), or (D,) where layers were pooled.
        latents: how many, N; when 0, eight for each number of one layer, at most 16384.
        k: how many of them may be on in one layer of an example.
        aux_k: how many dead latents predict the residual; when 0, half the numbers of one layer.
        aux_weight: weight of their error, as a share of the residual's variance; 0 leaves it out.
        dead_after: a latent is dead when it was off in all layers of more examples than this; when 0, a hundred times
            the mean gap between two firings of a latent in fair use.
        unit_norm: hold every atom at length 1.
        normalise: bring each layer (of pooled data, all together) to mean square 1 inside the model.

    Raises:
        RequestError: data of another shape, or with a target; an argument out of range.

    Example:
        >>> import torch
        >>> from narrows.core import Batch
        >>> model = multi_layer_sae((3, 8), latents=32, k=4)
        >>> model.encode(Batch(torch.randn(5, 3, 8))).z.values.shape
        torch.Size([5, 3, 4])

    Reference:
        Lawson et al., Residual Stream Analysis with Multi-Layer SAEs, 2024. arXiv:2409.04185
    """
    spec = as_spec(spec)
    if len(spec.shape) > 2 or spec.target is not None:
        raise RequestError(
            f"`multi-layer-sae` gives back activations of shape (layers, width), or (width,) where layers are pooled, "
            f"not {spec.shape}{'' if spec.target is None else ' with a target'}. Open a harvest with "
            "``layout='stack'`` or ``layout='pool'``."
        )
    width = spec.shape[-1]
    latents = latents or min(8 * width, 16_384)
    if len(spec.shape) == 1:
        return topk_sae(
            spec,
            latents=latents,
            k=k,
            aux_k=aux_k,
            aux_weight=aux_weight,
            dead_after=dead_after,
            unit_norm=unit_norm,
            normalise=normalise,
        )
    layers = spec.shape[0]
    bottleneck = LayerTopK(latents, k, layers)
    objective = StackedObjective(
        revival=aux_k_revival(
            Spec((width,)), latents, k * layers, aux_k=aux_k, weight=aux_weight, dead_after=dead_after
        )
    )
    dictionary = PooledDictionary(latents, spec.shape, unit_norm=unit_norm, normalise=normalise)
    bottleneck.bind(dictionary)
    encoder = PooledEncoder(latents, spec.shape, centre=dictionary, normalise=normalise)
    return Autoencoder(encoder, bottleneck, dictionary, Squared(spec.output_shape), objective)
