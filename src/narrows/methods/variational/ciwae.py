"""CIWAE: a mixture of the evidence lower bound and the importance-weighted bound."""

from narrows.core import Autoencoder, Likelihood, Spec, as_spec
from narrows.methods.variational._assemble import gaussian_autoencoder
from narrows.nets.kinds import Net
from narrows.objectives.importance import Combined


def ciwae(
    spec: Spec | tuple[int, ...],
    *,
    latent: int = 16,
    samples: int = 8,
    beta: float = 0.5,
    net: str | Net = "auto",
    likelihood: str | Likelihood = "auto",
) -> Autoencoder:
    r"""A VAE that is trained on a mixture of the evidence lower bound and the importance-weighted bound.

    .. math:: \beta\, E\Big[\frac1K \sum_{k=1}^K \log w_k\Big]
              + (1 - \beta)\, E\Big[\log \frac1K \sum_{k=1}^K w_k\Big],\quad
              w_k = \frac{p(x, z_k)}{q(z_k|x)}

    Args:
        samples: number of codes drawn for each example, K.
        beta: share of the evidence lower bound: 0 is the IWAE, 1 the VAE.

    Raises:
        RequestError: an argument out of range.

    Example:
        >>> model = ciwae((8,), latent=2, samples=3)
        >>> model.objective.samples
        (3,)

    Reference:
        Rainforth et al., Tighter Variational Bounds are Not Necessarily Better, 2018. arXiv:1802.04537
    """
    objective = Combined(samples, beta=beta)
    return gaussian_autoencoder(as_spec(spec), objective, latent=latent, net=net, likelihood=likelihood)
