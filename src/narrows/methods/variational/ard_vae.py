"""The VAE with automatic relevance determination."""

from torch import nn

from narrows.bottlenecks.priors.ard import Relevance
from narrows.core import Autoencoder, Likelihood, Part, Spec, as_spec
from narrows.core.schedules import Schedule
from narrows.methods.variational._assemble import gaussian_autoencoder
from narrows.nets.kinds import Net
from narrows.objectives.elbo import Elbo


def ard_vae(
    spec: Spec | tuple[int, ...],
    *,
    latent: int = 0,
    share: float = 0.1,
    beta: Schedule = 1.0,
    net: str | Net = "auto",
    likelihood: str | Likelihood = "auto",
) -> Autoencoder:
    r"""A VAE whose prior variances follow the codes, so that irrelevant latents can be left out.

    .. math:: p(z_j) = N(0,\, b_j / a),\qquad a = \frac n2,\quad b_j = \frac12 \sum_{i=1}^n z_{ij}^2

    The variances are computed every epoch from codes of n training examples that no step sees. The metric
    ``relevant`` is the number of latents with 99 % of the relevance, which is a latent's variance times its
    squared effect on the output.

    Args:
        share: of the training examples that are held back for the variances, at most 10,000.
        beta: weight of the KL divergence, a number or a schedule.

    Raises:
        RequestError: an argument out of range; in training, fewer examples than latents are held back.

    Example:
        >>> ard_vae((8,), latent=2).bottleneck.prior().variance
        tensor([1., 1.])

    Reference:
        Saha, Joshi, Whitaker, ARD-VAE, 2025. arXiv:2501.10901
    """

    def prior(encoder: nn.Module, latent: int) -> Part:
        return Relevance(encoder, latent, share)

    spec, objective = as_spec(spec), Elbo(beta=beta)
    return gaussian_autoencoder(spec, objective, latent=latent, net=net, likelihood=likelihood, prior=prior)
