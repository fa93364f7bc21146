"""The hyperspherical VAE."""

from narrows.bottlenecks.manifold.sphere import Sphere
from narrows.core import Autoencoder, Likelihood, Spec, as_spec
from narrows.core.schedules import Schedule
from narrows.methods.variational._assemble import variational_autoencoder
from narrows.nets.build import code_width
from narrows.nets.kinds import Net
from narrows.objectives.elbo import Elbo


def s_vae(
    spec: Spec | tuple[int, ...],
    *,
    latent: int = 0,
    distribution: str = "power",
    kappa: float = 0.0,
    beta: Schedule = 1.0,
    free_bits: float = 0.0,
    net: str | Net = "auto",
    likelihood: str | Likelihood = "auto",
) -> Autoencoder:
    r"""A VAE whose code lies on the unit sphere, with the uniform distribution as its prior.

    .. math:: \log p(x) \ge E_{q(z|\mu(x), \kappa(x))}[\log p(x|z)] - \mathrm{KL}(q \,\|\, U(S^{Z-1})),\qquad \|z\| = 1

    The uniform prior has no centre to which codes are drawn. The sphere in R^Z has Z - 1 dimensions, so that
    Z is at least 2.

    Args:
        distribution: ``power``, the power spherical distribution, or ``vmf``, von Mises-Fisher's, as in the paper.
        kappa: one concentration for all examples, which fixes the KL divergence; learned for each example if 0.
        beta: weight of the KL divergence, a number or a schedule.

    Raises:
        RequestError: an argument out of range.

    Example:
        >>> model = s_vae((8,), latent=3)
        >>> model.encode(Batch(torch.randn(5, 8))).z.norm(dim=1).allclose(torch.ones(5))
        True

    Reference:
        Davidson, Falorsi, De Cao, Kipf, Tomczak, Hyperspherical Variational Auto-Encoders, 2018. arXiv:1804.00891
        De Cao and Aziz, The Power Spherical Distribution, 2020. arXiv:2006.04437
    """
    spec = as_spec(spec)
    bottleneck = Sphere(latent or max(2, code_width(0, spec.shape)), distribution, kappa)
    objective, widths = Elbo(beta=beta, free_bits=free_bits), (bottleneck.width, bottleneck.latent)
    return variational_autoencoder(spec, bottleneck, objective, widths=widths, net=net, likelihood=likelihood)
