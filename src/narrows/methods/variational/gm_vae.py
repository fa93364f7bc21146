"""The VAE with a mixture of Gaussians as the prior."""

from torch import nn

from narrows.bottlenecks.priors.mixture import GaussianMixture
from narrows.core import Autoencoder, Likelihood, Part, Spec, as_spec
from narrows.core.check import whole
from narrows.core.schedules import Schedule
from narrows.methods.variational._assemble import gaussian_autoencoder
from narrows.nets.kinds import Net
from narrows.objectives.elbo import Elbo


def gm_vae(
    spec: Spec | tuple[int, ...],
    *,
    latent: int = 0,
    components: int = 10,
    spread: float = 1.0,
    beta: Schedule = 1.0,
    free_bits: float = 0.0,
    net: str | Net = "auto",
    likelihood: str | Likelihood = "auto",
) -> Autoencoder:
    r"""A VAE whose prior is a learned mixture of Gaussians.

    .. math:: p(z) = \sum_k \pi_k\, N(z;\, \mu_k, \mathrm{diag}\,\sigma_k^2)

    The component is summed out of log p(z); the cluster of an example is the component with the largest
    p(k | z). VaDE has the same generative model, starts it at a mixture that is fitted to the codes of an
    autoencoder, and bounds log p(z) by the posterior of the component.

    Args:
        components: the number of components, K.
        spread: standard deviation of the components' initial means.
        beta: weight of log q(z|x) - log p(z), a number or a schedule.

    Raises:
        RequestError: an argument out of range.

    Example:
        >>> model = gm_vae((8,), latent=2, components=3)
        >>> model.bottleneck.prior().responsibilities(torch.zeros(5, 2)).shape
        torch.Size([5, 3])

    Reference:
        Jiang, Zheng, Tan, Tang, Zhou, Variational Deep Embedding, 2017. arXiv:1611.05148
    """

    def prior(encoder: nn.Module, latent: int) -> Part:
        return GaussianMixture(latent, whole("components", components), spread)

    spec, objective = as_spec(spec), Elbo(beta=beta, free_bits=free_bits)
    return gaussian_autoencoder(spec, objective, latent=latent, net=net, likelihood=likelihood, prior=prior)
