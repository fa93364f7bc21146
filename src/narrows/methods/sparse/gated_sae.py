"""The gated sparse autoencoder."""

from typing import Any

from narrows.bottlenecks.sparse.gated import Gated
from narrows.core import Autoencoder, Spec
from narrows.core.schedules import Schedule
from narrows.methods.sparse._assemble import penalised_terms, sparse_autoencoder, spec_and_latents
from narrows.objectives.dead_latents import DeadLatents
from narrows.objectives.gate import GatedObjective
from narrows.objectives.target import Target


def gated_sae(
    spec: Spec | tuple[int, ...],
    *,
    latents: int = 0,
    l1: Schedule = 1.0,
    price_target: str | Target = "none",
    frozen: bool = True,
    dead: str | DeadLatents = "none",
    unit_norm: bool = True,
    normalise: bool = True,
    centre: bool = True,
    token_norm: str = "none",
    by_norm: bool = False,
) -> Autoencoder:
    r"""A gate selects the active latents, and a second path their magnitudes, without shrinkage.

    .. math:: \pi = W (x - b_d) + b_{gate}, \quad
        z = 1[\pi > 0] \odot \mathrm{ReLU}(e^{r} \odot W (x - b_d) + b_{mag})

    .. math:: L = \|x - \hat x(z)\|^2 + \lambda \sum_n \mathrm{ReLU}(\pi_n)
        + \|x - \hat x_{frozen}(\mathrm{ReLU}(\pi))\|^2

    The gate has zero gradient, and is trained by the penalty and by the last term, in which the decoder is
    frozen.

    Args:
        l1: weight of the penalty, lambda.
        frozen: the last term does not train the decoder, as in the paper; false as in SAELens.

    Raises:
        RequestError: an argument out of range; data with a separate target.

    Example:
        >>> model = gated_sae((8,), latents=32, price_target="l0=4")
        >>> sorted(model.loss(Batch(torch.randn(5, 8))).terms)
        ['distortion', 'gate', 'l1']

    Reference:
        Rajamanoharan et al., Improving Dictionary Learning with Gated Sparse Autoencoders, 2024.
        arXiv:2404.16014
    """
    spec, latents = spec_and_latents(spec, "gated-sae", latents)
    objective = GatedObjective(frozen=frozen, **penalised_terms(spec, latents, "l1", l1, price_target, dead))
    shared: dict[str, Any] = {"centre": centre, "token_norm": token_norm, "by_norm": by_norm}
    return sparse_autoencoder(
        spec, Gated(latents), objective, unit_norm=unit_norm, normalise=normalise, **shared
    )
