"""The contrastive sparse autoencoder: what two activations share, and what tells them apart.

Poupart, Contrastive Sparse Autoencoders for Interpreting Planning of Chess-Playing Agents, 2024. arXiv:2406.04028
"""

from __future__ import annotations

from narrows.bottlenecks.sparse.per_layer import LayerReLU
from narrows.core import Autoencoder, Spec, as_spec
from narrows.core.check import RequestError, fraction
from narrows.core.schedules import Schedule
from narrows.likelihoods import Squared
from narrows.methods.sparse.shared import target
from narrows.nets.dictionaries.dictionary import AffineEncoder, Dictionary
from narrows.objectives.contrast import Contrast

__all__ = ["contrastive_sae"]


def contrastive_sae(
    spec: Spec | tuple[int, ...],
    *,
    latents: int = 0,
    common: float = 0.5,
    l1: Schedule = 0.1,
    contrast: Schedule = 0.1,
    target_l0: float = 0.0,
    target_fvu: float = 0.0,
    unit_norm: bool = True,
    normalise: bool = True,
) -> Autoencoder:
    r"""A dictionary for pairs: one part of the latents says what both have in common, the other what differs.

    .. math:: f^\pm = \mathrm{ReLU}(W (x^\pm - b_d) + b_e) = [c^\pm, d^\pm], \qquad \hat x^\pm = A^\top f^\pm + b_d

    .. math:: L = \sum_\pm \big( \| x^\pm - \hat x^\pm \|^2 + \lambda \| f^\pm \|_1 \big)
        + \mu \big( \| c^+ - c^- \|_1 + \| d^+ \circ d^- \|_1 \big)

    An example is a pair, (2, width): a network's activations along a good and a bad continuation of one game, an
    answer with and without a fact ... In the paper each side is preceded by the activation of the position that both
    start from; put the two side by side in the data for that. Common latents come first. As in the paper the product
    is of second degree in the latents' size and all else in the price of first: `contrast` means something else on data
    of another scale, unless `normalise` gives all the same.

    Args:
        spec: what the data look like: (2, width).
        latents: how many, N; when 0, eight for each number of one side, at most 16384.
        common: the share of them that are common.
        l1: weight of the sum of the latents of both sides.
        contrast: weight of the contrast, mu.
        target_l0: find the weight of the price by which so many latents are on in one side; 0 leaves `l1`.
        target_fvu: find the weight by which this share of variance stays unexplained; 0 leaves `l1`.
        unit_norm: hold every atom at length 1.
        normalise: scale the data to mean square 1 inside the model.

    Raises:
        RequestError: data that are not pairs, or have a target; an argument out of range.

    Example:
        >>> import torch
        >>> from narrows.core import Batch
        >>> contrastive_sae((2, 8), latents=32).encode(Batch(torch.randn(5, 2, 8))).z.shape
        torch.Size([5, 2, 32])

    Reference:
        Poupart, Contrastive Sparse Autoencoders for Interpreting Planning of Chess-Playing Agents, 2024.
        arXiv:2406.04028
    """
    spec = as_spec(spec)
    if len(spec.shape) != 2 or spec.shape[0] != 2 or spec.target is not None:
        raise RequestError(
            f"`contrastive-sae` reads pairs of activations, (2, width), not {spec.shape}"
            f"{'' if spec.target is None else ' with a target'}. Stack what is to be compared."
        )
    width = spec.shape[1]
    latents = latents or min(8 * width, 16_384)
    bottleneck = LayerReLU(latents, 2)
    steered = target("l1", 2 * target_l0, target_fvu)
    objective = Contrast(
        common=round(fraction("common", common) * latents),
        target=steered,
        weights={"contrast": contrast} | ({} if steered else {"l1": l1}),
    )
    dictionary = Dictionary(latents, (width,), unit_norm=unit_norm, normalise=normalise)
    bottleneck.bind(dictionary)
    encoder = AffineEncoder(latents, (width,), centre=dictionary, normalise=normalise)
    return Autoencoder(encoder, bottleneck, dictionary, Squared(spec.output_shape), objective)
