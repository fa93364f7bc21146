"""The sparse autoencoder with an annealed power in its price.

Karvonen et al., Measuring Progress in Dictionary Learning for Language Model Interpretability with Board Game Models,
NeurIPS 2024. arXiv:2408.00113
"""

from __future__ import annotations

from narrows.bottlenecks.sparse.p_anneal import AnnealedP
from narrows.core import Autoencoder, Spec, as_spec
from narrows.core.schedules import Schedule
from narrows.methods.sparse.shared import priced_terms
from narrows.methods.sparse.topk_sae import default_latents, sparse_autoencoder
from narrows.objectives.sparse import SparseObjective

__all__ = ["p_anneal_sae"]


def p_anneal_sae(
    spec: Spec | tuple[int, ...],
    *,
    latents: int = 0,
    p: Schedule = "linear:1:0.2:2000",
    hold: int = 100,
    queue: int = 10,
    lp: Schedule = 1.0,
    target_l0: float = 0.0,
    target_fvu: float = 0.0,
    dead: str = "resample",
    dead_after: int = 0,
    aux_weight: Schedule = 1 / 32,
    unit_norm: bool = True,
    normalise: bool = True,
) -> Autoencoder:
    r"""A ReLU autoencoder whose price begins as the sum of latents and becomes nearly their count.

    .. math:: L = \|x - \hat x\|^2 + \lambda_t \sum_n z_n^{p_t}, \qquad p_t: 1 \to 0.2

    L1 is convex and finds a good start; a small power shrinks large latents less. Whenever p changes, the
    coefficient is matched over the last batches, so that the price does not jump. Since the slope of the power is
    infinite at 0, we price :math:`(z + \epsilon)^p - \epsilon^p` with :math:`\epsilon = 10^{-6}`: at p = 0.2 that is
    6 % less for a latent of size 1.

    Args:
        spec: what the data look like, or the shape of one example; flattened.
        latents: how many, N; when 0, eight for each number of an example, at most 16384.
        p: the power by step.
        hold: steps between two changes of p.
        queue: batches over which the coefficient is matched.
        lp: weight of the price at the start, lambda.
        target_l0: how many latents shall be on in one example, on average; the weight is then steered. 0 is off.
        target_fvu: the share of variance that may stay unexplained; the weight is then steered. 0 is off.
        dead: what is done for dead latents: ``auxk``, ``resample``, ``ghost``, ``preact`` or ``none``.
        dead_after: a latent is dead when it was off for more examples than this; when 0, as many as suit the sizes.
        aux_weight: weight of the term by which dead latents learn, where there is one.
        unit_norm: hold every atom at length 1, as in the paper; else the price counts its length.
        normalise: scale the data to mean square 1 inside the model while it trains.

    Raises:
        RequestError: an argument out of range; both targets; data with a target of their own.

    Example:
        >>> model = p_anneal_sae((8,), latents=32, p="linear:1:0.2:500")
        >>> model.bottleneck.before_step(300)
        >>> round(float(model.bottleneck.power), 3)
        0.52

    Reference:
        Karvonen et al., Measuring Progress in Dictionary Learning for Language Model Interpretability with Board
        Game Models, 2024. arXiv:2408.00113
    """
    spec = as_spec(spec)
    latents = latents or default_latents(spec)
    terms = priced_terms(
        spec,
        latents,
        "lp",
        lp,
        target_l0=target_l0,
        target_fvu=target_fvu,
        dead=dead,
        dead_after=dead_after,
        aux_weight=aux_weight,
    )
    bottleneck = AnnealedP(latents, p=p, hold=hold, queue=queue)
    objective = SparseObjective(**terms)
    return sparse_autoencoder(spec, bottleneck, objective, unit_norm=unit_norm, normalise=normalise)
