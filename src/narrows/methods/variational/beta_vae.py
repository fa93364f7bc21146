"""The beta-VAE."""

from narrows.core import Autoencoder, Likelihood, Spec, as_spec
from narrows.core.schedules import Schedule
from narrows.methods.variational._assemble import gaussian_autoencoder
from narrows.nets.kinds import Net
from narrows.objectives.elbo import Elbo


def beta_vae(
    spec: Spec | tuple[int, ...],
    *,
    latent: int = 10,
    beta: Schedule = 4.0,
    net: str | Net = "auto",
    likelihood: str | Likelihood = "auto",
) -> Autoencoder:
    r"""A beta-VAE: a VAE with a weight above 1 on the KL divergence, for disentangled latents.

    .. math:: E_{q(z|x)}[\log p(x|z)] - \beta\,\mathrm{KL}(q(z|x)\,\|\,p(z))

    It is `vae` with another weight. The distortion is -log p(x | z) in nats, a sum over the elements of an
    example, so that beta has the same meaning for all data.

    Args:
        beta: weight of the KL divergence, a number or a schedule.

    Raises:
        RequestError: an argument out of range.

    Example:
        >>> beta_vae((8,), latent=2).objective.weight("kl", 0)
        4.0

    Reference:
        Higgins et al., beta-VAE: Learning Basic Visual Concepts with a Constrained Variational Framework,
        2017. https://openreview.net/forum?id=Sy2fzU9gl
    """
    return gaussian_autoencoder(as_spec(spec), Elbo(beta=beta), latent=latent, net=net, likelihood=likelihood)
