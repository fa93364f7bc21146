"""The sparse autoencoder with an annealed power in its price."""

from narrows.bottlenecks.sparse.p_anneal import AnnealedP
from narrows.core import Autoencoder, Spec
from narrows.core.schedules import Schedule
from narrows.methods.sparse._assemble import priced, sized, sparse_autoencoder
from narrows.objectives.dead_latents import DeadLatents
from narrows.objectives.sparse import SparseObjective
from narrows.objectives.target import Target


def p_anneal_sae(
    spec: Spec | tuple[int, ...],
    *,
    latents: int = 0,
    p: Schedule = "linear:1:0.2:2000",
    hold: int = 100,
    queue: int = 10,
    lp: Schedule = 1.0,
    price_target: str | Target = "none",
    dead: str | DeadLatents = "resample",
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
        p: the power by step.
        hold: steps between two changes of p.
        queue: batches over which the coefficient is matched.
        lp: weight of the price at the start, lambda.

    Raises:
        RequestError: an argument out of range; data with a target of their own.

    Example:
        >>> model = p_anneal_sae((8,), latents=32, p="linear:1:0.2:500")
        >>> model.bottleneck.before_step(300)
        >>> round(float(model.bottleneck.power), 3)
        0.52

    Reference:
        Karvonen et al., Measuring Progress in Dictionary Learning for Language Model Interpretability with Board
        Game Models, 2024. arXiv:2408.00113
    """
    spec, latents = sized(spec, "p-anneal-sae", latents)
    bottleneck = AnnealedP(latents, p=p, hold=hold, queue=queue)
    objective = SparseObjective(**priced(spec, latents, "lp", lp, price_target, dead))
    return sparse_autoencoder(spec, bottleneck, objective, unit_norm=unit_norm, normalise=normalise)
