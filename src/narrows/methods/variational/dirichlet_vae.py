"""The Dirichlet VAE."""

from narrows.bottlenecks.manifold.simplex import Simplex
from narrows.core import Autoencoder, Likelihood, Spec, as_spec
from narrows.core.schedules import Schedule
from narrows.methods.variational._assemble import variational_autoencoder
from narrows.nets.after import After, Scale
from narrows.nets.build import code_width
from narrows.nets.kinds import Net
from narrows.objectives.elbo import Elbo


def dirichlet_vae(
    spec: Spec | tuple[int, ...],
    *,
    latent: int = 0,
    concentration: float = 0.0,
    beta: Schedule = 1.0,
    free_bits: float = 0.0,
    net: str | Net = "auto",
    likelihood: str | Likelihood = "auto",
) -> Autoencoder:
    r"""A VAE whose code is a vector of shares that sum to 1, with Dirichlet posterior and prior.

    .. math:: \log p(x) \ge E_{q(z|x)}[\log p(x|z)] - \mathrm{KL}(\mathrm{Dir}(\alpha(x)) \,\|\, \mathrm{Dir}(a))

    The width of the code is the number of shares, K, at least 2. With a below 1 the prior has a mode at every corner,
    so that few shares are large, as in topic models. The paper draws by an approximate inverse of the Gamma
    distribution function; here gradients of draws are implicit. The decoder reads K z, whose mean is 1.

    Args:
        concentration: a; 1 - 1 / K if 0.
        beta: weight of the KL divergence, a number or a schedule.

    Raises:
        RequestError: an argument out of range.

    Example:
        >>> model = dirichlet_vae((8,), latent=3)
        >>> code = model.eval().encode(Batch(torch.randn(5, 8)))
        >>> bool((code.z.sum(1) - 1).abs().max() < 1e-6)
        True

    Reference:
        Joo, Lee, Park, Moon, Dirichlet Variational Autoencoder, 2019. arXiv:1901.02739
    """
    spec = as_spec(spec)
    bottleneck = Simplex(latent or max(2, code_width(0, spec.shape)), concentration)
    objective, widths = Elbo(beta=beta, free_bits=free_bits), (bottleneck.latent, bottleneck.latent)
    model = variational_autoencoder(
        spec, bottleneck, objective, widths=widths, net=net, likelihood=likelihood
    )
    model.decoder = After(Scale(bottleneck.latent), model.decoder)
    return model
