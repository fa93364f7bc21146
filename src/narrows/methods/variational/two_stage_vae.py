"""The two-stage VAE."""

from narrows.core import Autoencoder, Likelihood, Prior, Spec, Symbols, as_spec
from narrows.core.schedules import Schedule
from narrows.methods.variational._assemble import gaussian_autoencoder
from narrows.nets.build import code_width
from narrows.nets.kinds import Net
from narrows.objectives.elbo import Elbo
from narrows.priors import make_prior


def two_stage_vae(
    spec: Spec | tuple[int, ...],
    *,
    latent: int = 0,
    beta: Schedule = 1.0,
    prior: str | Prior = "second-vae",
    net: str | Net = "auto",
    likelihood: str | Likelihood = "gaussian",
) -> Autoencoder:
    r"""A VAE with a learned variance of x, then a second VAE over draws of its codes.

    .. math:: u \sim N(0, I),\quad z \sim N(g_2(u), \gamma_2^2 I),\quad x \sim N(g_1(z), \gamma_1^2 I)

    With a learned variance the first VAE reconstructs well, and its codes fill the latent space, but are not
    distributed as N(0, I). The second one, of the same dimension, has no such mismatch, since there is no manifold of a
    lower dimension left to find. Samples are drawn from the second.

    Args:
        beta: weight of the first VAE's KL divergence.
        prior: the second stage.

    Raises:
        RequestError: an argument out of range.

    Example:
        >>> model = two_stage_vae((8,), latent=2)
        >>> model.sample(3).shape, [stage.name for stage in model.stages()]
        (torch.Size([3, 8]), ['autoencoder', 'prior'])

    Reference:
        Dai and Wipf, Diagnosing and Enhancing VAE Models, 2019. arXiv:1903.05789
    """
    spec = as_spec(spec)
    latent = code_width(latent, spec.shape)
    model = gaussian_autoencoder(
        spec, Elbo(beta=beta), latent=latent, net=net, likelihood=likelihood, vectors="skip"
    )
    model.set_prior(make_prior(prior, Symbols((latent,)), spec.classes))
    return model
