"""The contrastive sparse autoencoder: what two activations share, and what tells them apart."""

from narrows.bottlenecks.sparse.per_layer import LayerReLU
from narrows.core import Autoencoder, Spec
from narrows.core.check import RequestError, fraction
from narrows.core.schedules import Schedule
from narrows.methods.sparse._assemble import default_latents, price, sparse_autoencoder, without_target
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
        common: the share of them that are common.
        l1: weight of the sum of the latents of both sides.
        contrast: weight of the contrast, mu.

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
            f"`contrastive-sae` reads pairs of activations, (2, width), not {spec.shape}. Stack what is to be compared."
        )
    latents = default_latents(latents, spec.shape[1])
    terms = price("l1", l1, price_target, rows=2)
    weights = {"contrast": contrast, **terms.pop("weights", {})}
    objective = Contrast(common=round(fraction("common", common) * latents), weights=weights, **terms)
    return sparse_autoencoder(
        spec, LayerReLU(latents, 2), objective, unit_norm=unit_norm, normalise=normalise, row=spec.shape[1:]
    )
