"""The gated sparse autoencoder."""

from narrows.bottlenecks.sparse.gated import Gated
from narrows.core import Autoencoder, Spec
from narrows.core.schedules import Schedule
from narrows.methods.sparse._assemble import priced, sized, sparse_autoencoder
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
    dead: str | DeadLatents = "resample",
    unit_norm: bool = True,
    normalise: bool = True,
) -> Autoencoder:
    r"""Whether a latent is on, and how large it is, are decided apart, so that the price does not shrink it.

    .. math:: \pi = W (x - b_d) + b_{gate}, \quad
        z = 1[\pi > 0] \odot \mathrm{ReLU}(e^{r} \odot W (x - b_d) + b_{mag})

    .. math:: L = \|x - \hat x(z)\|^2 + \lambda \sum_n \mathrm{ReLU}(\pi_n)
        + \|x - \hat x_{frozen}(\mathrm{ReLU}(\pi))\|^2

    The gate is flat, and learns by the price and by the last term, in which the decoder is a constant.

    Args:
        l1: weight of the price, lambda.
        frozen: the last term teaches the decoder nothing, as in the paper; False as in SAELens.

    Raises:
        RequestError: an argument out of range; data with a target of their own.

    Example:
        >>> model = gated_sae((8,), latents=32, price_target="l0=4")
        >>> sorted(model.loss(Batch(torch.randn(5, 8))).terms)
        ['distortion', 'gate', 'l1']

    Reference:
        Rajamanoharan et al., Improving Dictionary Learning with Gated Sparse Autoencoders, 2024. arXiv:2404.16014
    """
    spec, latents = sized(spec, "gated-sae", latents)
    objective = GatedObjective(frozen=frozen, **priced(spec, latents, "l1", l1, price_target, dead))
    return sparse_autoencoder(spec, Gated(latents), objective, unit_norm=unit_norm, normalise=normalise)
