"""The importance-weighted autoencoder."""

from narrows.core import Autoencoder, Likelihood, Spec, as_spec
from narrows.core.schedules import Schedule
from narrows.methods.variational._assemble import gaussian_autoencoder
from narrows.nets.kinds import Net
from narrows.objectives.importance import Importance


def iwae(
    spec: Spec | tuple[int, ...],
    *,
    latent: int = 16,
    samples: int = 5,
    gradient: str = "standard",
    beta: Schedule = 1.0,
    net: str | Net = "auto",
    likelihood: str | Likelihood = "auto",
) -> Autoencoder:
    r"""An IWAE: a VAE trained on a bound that is tighter with more samples.

    .. math:: \log p(x) \ge E\left[\log \frac1K \sum_{k=1}^K \frac{p(x, z_k)}{q(z_k|x)}\right] \ge \mathrm{ELBO}

    Args:
        samples: number of codes drawn for each example, K; 1 is the VAE with a sampled KL divergence.
        gradient: ``standard``, ``stl`` or ``dreg``; the signal-to-noise ratio of the last does not fall with
            K.
        beta: weight of log q(z|x) - log p(z) in the log-weights.

    Raises:
        RequestError: an argument out of range.

    Example:
        >>> model = iwae((8,), latent=2, samples=3)
        >>> model.objective.samples
        (3,)

    Reference:
        Burda, Grosse, Salakhutdinov, Importance Weighted Autoencoders, 2016. arXiv:1509.00519
    """
    objective = Importance(samples, gradient=gradient, beta=beta)
    return gaussian_autoencoder(as_spec(spec), objective, latent=latent, net=net, likelihood=likelihood)
