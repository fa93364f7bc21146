"""The variational autoencoder."""

from narrows.core import Autoencoder, Likelihood, Spec, as_spec
from narrows.core.schedules import Schedule
from narrows.methods.variational._assemble import gaussian_autoencoder
from narrows.nets.kinds import Net
from narrows.objectives.elbo import Elbo


def vae(
    spec: Spec | tuple[int, ...],
    *,
    latent: int = 0,
    beta: Schedule = 1.0,
    free_bits: float = 0.0,
    net: str | Net = "auto",
    likelihood: str | Likelihood = "auto",
) -> Autoencoder:
    r"""A VAE: a diagonal Gaussian posterior, the prior N(0, I), and the evidence lower bound.

    .. math:: \log p(x) \ge E_{q(z|x)}[\log p(x|z)] - \mathrm{KL}(q(z|x)\,\|\,p(z))

    For a table (vectors) ``net="auto"`` is ``skip``: encoder and decoder are each a linear map beside a perceptron,
    and begin at probabilistic PCA, with the perceptrons at zero. The bound trades distortion for rate: what a latent
    would tell below the decoder's noise is left out, so that the reconstruction from the mean may be worse than PCA's
    of the same width.

    Args:
        beta: weight of the divergence, a number or a schedule; 1 is the bound, more is the beta-VAE.

    Raises:
        RequestError: an argument out of range.

    Example:
        >>> model = vae((8,), latent=2)
        >>> model.sample(3).shape
        torch.Size([3, 8])

    Reference:
        Kingma and Welling, Auto-Encoding Variational Bayes, 2014. arXiv:1312.6114
    """
    spec, objective = as_spec(spec), Elbo(beta=beta, free_bits=free_bits)
    return gaussian_autoencoder(
        spec, objective, latent=latent, net=net, likelihood=likelihood, vectors="skip"
    )
