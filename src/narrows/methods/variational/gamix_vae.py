"""The VAE with a mixture of Gaussians over the batch as its posterior."""

import math

from torch import nn

from narrows.core import Autoencoder, Likelihood, Spec, as_spec
from narrows.core.check import at_least
from narrows.core.schedules import Schedule
from narrows.methods.variational._assemble import gaussian_autoencoder
from narrows.nets import CRITICS
from narrows.nets.build import code_width
from narrows.nets.kinds import Net
from narrows.objectives.batch_moments import BatchMoments

_BATCH = 4
"""Examples per latent that a batch needs at least: variances of fewer are mostly noise."""


def gamix_vae(
    spec: Spec | tuple[int, ...],
    *,
    latent: int = 16,
    reconstruction: float = 5000.0,
    variance: Schedule = 0.1,
    adversary: Schedule = 100.0,
    critic: str | nn.Module = "patch",
    net: str | Net = "auto",
    likelihood: str | Likelihood = "absolute",
) -> Autoencoder:
    r"""A VAE whose posterior is the mixture of a batch: only its moments are matched to the prior.

    .. math:: \frac{w}{D}\, E|x - \hat x| + \mathrm{KL}(N(m, \mathrm{diag}\, v)\,\|\,N(0, I))
              + b\, E \sum_j (\sigma_j^2 - 1 - \log \sigma_j^2) - c\, E[\log C(\hat x)]

    m and v are mean and variance of the posterior means over a batch, which needs at least four examples per latent.
    The third term keeps the variance of each posterior from 0; C is a critic of patches. The loss is no bound of the
    likelihood.

    Args:
        reconstruction: w, the weight of the mean distortion of the D elements of an example.
        variance: b, a number or a schedule.
        adversary: c, a number or a schedule.
        critic: the critic of reconstructions.

    Raises:
        RequestError: an argument out of range.

    Example:
        >>> model = gamix_vae((1, 8, 8), latent=2)
        >>> [player.name for player in model.players()], model.objective.least_batch
        (['autoencoder', 'critic'], 8)

    Reference:
        Rivera, How to train your VAE, 2023. arXiv:2309.13160
    """
    spec = as_spec(spec)
    latent = code_width(latent, spec.shape)
    objective = BatchMoments(
        CRITICS.make(critic, shape=spec.output_shape),
        distortion=at_least("reconstruction", reconstruction, 0) / math.prod(spec.output_shape),
        variance=variance,
        adversary=adversary,
        least_batch=_BATCH * latent,
    )
    return gaussian_autoencoder(spec, objective, latent=latent, net=net, likelihood=likelihood)
