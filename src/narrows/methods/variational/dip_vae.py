"""The DIP-VAE."""

from narrows.core import Autoencoder, Likelihood, Spec, as_spec
from narrows.core.check import refuse
from narrows.core.schedules import Schedule
from narrows.methods.variational._assemble import gaussian_autoencoder
from narrows.nets.build import code_width
from narrows.nets.kinds import Net
from narrows.objectives.moments import Covariance


def dip_vae(
    spec: Spec | tuple[int, ...],
    *,
    latent: int = 10,
    type: str = "i",
    weight: Schedule = 10.0,
    diagonal: Schedule = "auto",
    beta: Schedule = 1.0,
    net: str | Net = "auto",
    likelihood: str | Likelihood = "auto",
) -> Autoencoder:
    r"""A DIP-VAE: a VAE whose codes have a covariance near the identity, for disentangled latents.

    .. math:: -\mathrm{ELBO} + \lambda_{od} \sum_{i \ne j} C_{ij}^2 + \lambda_d \sum_i (C_{ii} - 1)^2

    The covariance is that of a batch, which needs at least as many examples as latents.

    Args:
        type: ``i``, C is the covariance of the posterior means; ``ii``, that of draws from the posteriors,
            C = Cov(mu) + E[diag sigma^2].
        weight: lambda_od, a number or a schedule.
        diagonal: lambda_d, a number or a schedule; ``auto`` is lambda_od, times 10 for type i, as in the paper.
        beta: weight of the KL divergence, a number or a schedule.

    Raises:
        RequestError: an argument out of range.

    Example:
        >>> model = dip_vae((8,), latent=2, type="ii")
        >>> sorted(model.loss(Batch(torch.zeros(5, 8))).terms)
        ['diagonal', 'distortion', 'kl', 'off_diagonal']

    Reference:
        Kumar, Sattigeri, Balakrishnan, Variational Inference of Disentangled Latent Concepts from Unlabeled
        Observations, 2018. arXiv:1711.00848
    """
    spec = as_spec(spec)
    latent = code_width(latent, spec.shape)
    if diagonal == "auto":
        if not isinstance(weight, (int, float)):
            raise refuse("diagonal", diagonal, "given if ``weight`` is a schedule")
        diagonal = 10.0 * weight if type == "i" else weight
    objective = Covariance(type, weight, diagonal, beta, least_batch=latent)
    return gaussian_autoencoder(spec, objective, latent=latent, net=net, likelihood=likelihood)
