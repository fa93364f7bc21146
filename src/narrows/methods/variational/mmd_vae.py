"""The MMD-VAE."""

from narrows.core import Autoencoder, Likelihood, Spec, as_spec
from narrows.core.schedules import Schedule
from narrows.methods.variational._assemble import matched_autoencoder
from narrows.nets.kinds import Net


def mmd_vae(
    spec: Spec | tuple[int, ...],
    *,
    latent: int = 16,
    weight: Schedule = "auto",
    net: str | Net = "auto",
    likelihood: str | Likelihood = "auto",
) -> Autoencoder:
    r"""An MMD-VAE: the codes of all examples together follow the prior, and no example pays for its rate.

    .. math:: E_{q(z|x)}[-\log p(x|z)] + \lambda\, \mathrm{MMD}(q(z), p(z)),\qquad q(z) = E_x q(z|x)

    It is `infovae` with alpha = 1.

    Args:
        weight: lambda, a number or a schedule, relative to the distortion of an example. ``auto`` is the number of
            elements of an example, since the distortion grows with it.

    Raises:
        RequestError: an argument out of range.

    Example:
        >>> model = mmd_vae((8,), latent=2)
        >>> model.objective.weight("kl", 0), model.objective.weight("mmd", 0)
        (0.0, 8.0)

    Reference:
        Zhao, Song, Ermon, InfoVAE: Information Maximizing Variational Autoencoders, 2017. arXiv:1706.02262
    """
    return matched_autoencoder(as_spec(spec), 1.0, weight, latent=latent, net=net, likelihood=likelihood)
