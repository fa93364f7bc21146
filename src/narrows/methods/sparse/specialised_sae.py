"""Sparse autoencoders specialised to a subdomain."""

from narrows.bottlenecks.sparse.batchtopk import BatchTopK
from narrows.bottlenecks.sparse.relu import ReLU
from narrows.bottlenecks.sparse.topk import TopK
from narrows.core import Autoencoder, Spec
from narrows.core.check import choice
from narrows.core.schedules import Schedule
from narrows.methods.sparse._assemble import (
    dead_latents,
    penalty_terms,
    sparse_autoencoder,
    spec_and_latents,
    without_penalty,
)
from narrows.objectives.dead_latents import DeadLatents
from narrows.objectives.target import Target
from narrows.objectives.tilted import Specialised


def specialised_sae(
    spec: Spec | tuple[int, ...],
    *,
    latents: int = 0,
    k: int = 16,
    tilt: float = 1.0,
    start: str = "",
    activation: str = "topk",
    l1: Schedule = 1.0,
    price_target: str | Target = "none",
    dead: str | DeadLatents = "auxk",
    unit_norm: bool = True,
    normalise: bool = True,
) -> Autoencoder:
    r"""A general autoencoder finetuned on a subdomain, with larger weights for larger losses.

    .. math:: L = \frac{V}{t} \log \frac1B \sum_b e^{t\, \ell_b / V}, \qquad \ell_b = \|x_b - \hat x_b\|^2
        + \alpha L_{aux}

    The recipe: fit a general model; select data near a few examples of the subdomain
    (`narrows.data.related`); fit this method on them with ``start`` at the general model's folder. The tilt
    increases the weight of the tail of the losses, where rare concepts are. With TopK the tail has the
    examples with more features than k, rare or not; with a penalty on ReLU latents the number of active
    latents is free. The paper tilts models with ReLU, TopK and gated latents, with t relative to losses in
    the activations' units (its large ones are hundreds); here losses are in units of the data's variance V,
    and t is V times as large.

    Args:
        tilt: t; 0 gives the mean.
        start: a ``model.safetensors`` of a sparse autoencoder of the same shapes, or its run's folder, to
            start from.
        activation: ``topk``, ``batchtopk``, or ``relu`` with a penalty on the sum of the latents.
        l1: weight of that penalty, with ``relu``.

    Raises:
        RequestError: an argument out of range; data with a target; at the first step, an incompatible
            `start`.

    Example:
        >>> specialised_sae((8,), latents=32, k=4, tilt=2.0).objective.reduce.t
        2.0

    Reference:
        Muhamed, Diab, Smith, Decoding Dark Matter: Specialized Sparse Autoencoders for Interpreting Rare
        Concepts in Foundation Models, 2024. arXiv:2411.00743
    """
    spec, latents = spec_and_latents(spec, "specialised-sae", latents)
    relu = choice("activation", activation, ("topk", "batchtopk", "relu")) == "relu"
    bottleneck = ReLU(latents) if relu else (TopK if activation == "topk" else BatchTopK)(latents, k)
    terms = penalty_terms("l1", l1, price_target) if relu else without_penalty(price_target)
    revived = dead_latents(dead, latents, k, spec.size)
    objective = Specialised(tilt=tilt, start=start, dead=revived, **terms)
    return sparse_autoencoder(spec, bottleneck, objective, unit_norm=unit_norm, normalise=normalise)
