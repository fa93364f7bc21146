"""The contrastive sparse autoencoder: common and differential features of two activations."""

from narrows.bottlenecks.sparse.per_layer import LayerReLU
from narrows.core import Autoencoder, Spec
from narrows.core.check import RequestError, fraction
from narrows.core.schedules import Schedule
from narrows.methods.sparse._assemble import (
    default_latents,
    penalty_terms,
    sparse_autoencoder,
    without_target,
)
from narrows.objectives.contrast import Contrast
from narrows.objectives.target import Target


def contrastive_sae(
    spec: Spec | tuple[int, ...],
    *,
    latents: int = 0,
    common: float = 0.5,
    l1: Schedule = 0.1,
    contrast: Schedule = 0.1,
    price_target: str | Target = "none",
    unit_norm: bool = True,
    normalise: bool = True,
) -> Autoencoder:
    r"""A dictionary for pairs: some latents are common to both sides, the others differ between them.

    .. math:: f^\pm = \mathrm{ReLU}(W (x^\pm - b_d) + b_e) = [c^\pm, d^\pm], \qquad \hat x^\pm = A^\top f^\pm + b_d

    .. math:: L = \sum_\pm \big( \| x^\pm - \hat x^\pm \|^2 + \lambda \| f^\pm \|_1 \big)
        + \mu \big( \| c^+ - c^- \|_1 + \| d^+ \circ d^- \|_1 \big)

    An example is a pair, (2, width): a network's activations along a good and a bad continuation of one game,
    an answer with and without a fact ... In the paper each side is concatenated with the activation of the
    common starting position; do this in the data. Common latents come first. As in the paper the product is
    of second degree in the latents and the rest of the penalty of first: the meaning of `contrast` depends on
    the scale of the data, unless `normalise` is on.

    Args:
        spec: description of the data, (2, width).
        common: the share of common latents.
        l1: weight of the sum of the latents of both sides.
        contrast: weight of the contrastive term, mu.

    Raises:
        RequestError: data that are not pairs, or have a target; an argument out of range.

    Example:
        >>> contrastive_sae((2, 8), latents=32).encode(Batch(torch.randn(5, 2, 8))).z.shape
        torch.Size([5, 2, 32])

    Reference:
        Poupart, Contrastive Sparse Autoencoders for Interpreting Planning of Chess-Playing Agents, 2024.
        arXiv:2406.04028
    """
    spec = without_target(spec, "contrastive-sae")
    if len(spec.shape) != 2 or spec.shape[0] != 2:
        raise RequestError(
            f"`contrastive-sae` reads pairs of activations, (2, width), not {spec.shape}. Stack the two activations."
        )
    latents = default_latents(latents, spec.shape[1])
    terms = penalty_terms("l1", l1, price_target, rows=2)
    weights = {"contrast": contrast, **terms.pop("weights", {})}
    objective = Contrast(common=round(fraction("common", common) * latents), weights=weights, **terms)
    return sparse_autoencoder(
        spec, LayerReLU(latents, 2), objective, unit_norm=unit_norm, normalise=normalise, row=spec.shape[1:]
    )
