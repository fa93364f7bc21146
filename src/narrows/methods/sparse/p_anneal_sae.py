"""The sparse autoencoder with an annealed Lp penalty."""

from narrows.bottlenecks.sparse.p_anneal import AnnealedP
from narrows.core import Autoencoder, Spec
from narrows.core.schedules import Schedule
from narrows.methods.sparse._assemble import penalised_terms, sparse_autoencoder, spec_and_latents
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
    r"""A ReLU autoencoder whose penalty is annealed from L1 nearly to L0.

    .. math:: L = \|x - \hat x\|^2 + \lambda_t \sum_n z_n^{p_t}, \qquad p_t: 1 \to 0.2

    L1 is convex and gives a good initialisation; a small power shrinks large latents less. When p changes,
    the coefficient is adapted over the last batches, so that the penalty does not jump. Since the derivative
    of the power is infinite at 0, the penalty is :math:`(z + \epsilon)^p - \epsilon^p` with
    :math:`\epsilon = 10^{-6}`: at p = 0.2 this is 6 % less for a latent of size 1.

    Args:
        p: the power, a schedule over steps.
        hold: steps between two changes of p.
        queue: number of batches over which the coefficient is adapted.
        lp: initial weight of the penalty, lambda.

    Raises:
        RequestError: an argument out of range; data with a separate target.

    Example:
        >>> model = p_anneal_sae((8,), latents=32, p="linear:1:0.2:500")
        >>> model.bottleneck.before_step(300)
        >>> round(float(model.bottleneck.power), 3)
        0.52

    Reference:
        Karvonen et al., Measuring Progress in Dictionary Learning for Language Model Interpretability with
        Board Game Models, 2024. arXiv:2408.00113
    """
    spec, latents = spec_and_latents(spec, "p-anneal-sae", latents)
    bottleneck = AnnealedP(latents, p=p, hold=hold, queue=queue)
    objective = SparseObjective(**penalised_terms(spec, latents, "lp", lp, price_target, dead))
    return sparse_autoencoder(spec, bottleneck, objective, unit_norm=unit_norm, normalise=normalise)
