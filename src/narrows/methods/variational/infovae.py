"""The InfoVAE."""

from narrows.core import Autoencoder, Likelihood, Spec, as_spec
from narrows.core.schedules import Schedule
from narrows.methods.variational._assemble import matched_autoencoder
from narrows.nets.kinds import Net


def infovae(
    spec: Spec | tuple[int, ...],
    *,
    latent: int = 16,
    alpha: float = 0.5,
    weight: Schedule = "auto",
    net: str | Net = "auto",
    likelihood: str | Likelihood = "auto",
) -> Autoencoder:
    r"""An InfoVAE: less weight on the rate of each example, more on the distance of all codes from the prior.

    .. math:: E_{q(z|x)}[-\log p(x|z)] + (1 - \alpha)\, E_x \mathrm{KL}(q(z|x)\,\|\,p(z))
              + (\alpha + \lambda - 1)\, \mathrm{MMD}(q(z), p(z)),\qquad q(z) = E_x q(z|x)

    With alpha = 0 and lambda = 1 it is the VAE, with alpha = 1 `mmd-vae`. The MMD compares a batch of draws from the
    posteriors with as many of the prior, by a sum of inverse multiquadratic kernels.

    Args:
        alpha: how much of the weight on the KL divergence is taken off, at most 1; a larger one makes code and
            example share more information.
        weight: weight of the MMD, alpha + lambda - 1, a number or a schedule, relative to the distortion of an
            example. ``auto`` has lambda the number of elements of an example, since the distortion grows with it.

    Raises:
        RequestError: an argument out of range.

    Example:
        >>> model = infovae((8,), latent=2, alpha=0.25, weight=7.0)
        >>> model.objective.weight("kl", 0), model.objective.weight("mmd", 0)
        (0.75, 7.0)

    Reference:
        Zhao, Song, Ermon, InfoVAE: Information Maximizing Variational Autoencoders, 2017. arXiv:1706.02262
    """
    return matched_autoencoder(as_spec(spec), alpha, weight, latent=latent, net=net, likelihood=likelihood)
