"""Sparse autoencoders specialised to a subdomain."""

from narrows.bottlenecks.sparse.batchtopk import BatchTopK
from narrows.bottlenecks.sparse.relu import ReLU
from narrows.bottlenecks.sparse.topk import TopK
from narrows.core import Autoencoder, Spec
from narrows.core.check import choice
from narrows.core.schedules import Schedule
from narrows.methods.sparse._assemble import dead_latents, price, sized, sparse_autoencoder, unpriced
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
    r"""A general autoencoder fitted on to a subdomain, where what is reconstructed badly counts more.

    .. math:: L = \frac{V}{t} \log \frac1B \sum_b e^{t\, \ell_b / V}, \qquad \ell_b = \|x_b - \hat x_b\|^2
        + \alpha L_{aux}

    The recipe: fit a general model; choose data near a few examples of the subdomain (`narrows.data.related`); fit
    this method on them with ``start`` at the general model's folder. The tilt raises the weight of the tail, where
    rare concepts are. With TopK the tail of the losses holds the examples that have more atoms than k, rare or not;
    with a price on ReLU latents they may have as many on as they need. The paper tilts models with ReLU, TopK and gated
    latents, with t beside losses in the activations' units (its large ones are hundreds); ours counts in units of the
    data's variance V, and is V times as large.

    Args:
        tilt: t; 0 gives the mean.
        start: a ``model.safetensors`` of a sparse autoencoder of the same shapes, or its run's folder, to begin from.
        activation: ``topk``, ``batchtopk``, or ``relu`` with a price on the sum of the latents.
        l1: weight of that price, with ``relu``.

    Raises:
        RequestError: an argument out of range; data with a target; at the first step, a `start` that does not fit.

    Example:
        >>> specialised_sae((8,), latents=32, k=4, tilt=2.0).objective.reduce.t
        2.0

    Reference:
        Muhamed, Diab, Smith, Decoding Dark Matter: Specialized Sparse Autoencoders for Interpreting Rare Concepts in
        Foundation Models, 2024. arXiv:2411.00743
    """
    spec, latents = sized(spec, "specialised-sae", latents)
    relu = choice("activation", activation, ("topk", "batchtopk", "relu")) == "relu"
    bottleneck = ReLU(latents) if relu else (TopK if activation == "topk" else BatchTopK)(latents, k)
    terms = price("l1", l1, price_target) if relu else unpriced(price_target)
    revived = dead_latents(dead, latents, k, spec.size)
    objective = Specialised(tilt=tilt, start=start, dead=revived, **terms)
    return sparse_autoencoder(spec, bottleneck, objective, unit_norm=unit_norm, normalise=normalise)
