"""MIWAE: the mean of several importance-weighted bounds."""

from narrows.core import Autoencoder, Likelihood, Spec, as_spec
from narrows.core.schedules import Schedule
from narrows.methods.variational._assemble import gaussian_autoencoder
from narrows.nets.kinds import Net
from narrows.objectives.importance import Importance


def miwae(
    spec: Spec | tuple[int, ...],
    *,
    latent: int = 16,
    samples: int = 8,
    estimates: int = 8,
    gradient: str = "standard",
    beta: Schedule = 1.0,
    net: str | Net = "auto",
    likelihood: str | Likelihood = "auto",
) -> Autoencoder:
    r"""An IWAE that is trained on the mean of several bounds, whose gradient for the encoder is less noisy.

    .. math:: \log p(x) \ge E\Big[\frac1M \sum_{m=1}^M \log \frac1K \sum_{k=1}^K
              \frac{p(x, z_{mk})}{q(z_{mk}|x)}\Big]

    For missing values see `missing-iwae`, which the literature calls MIWAE too.

    Args:
        samples: number of codes of each bound, K.
        estimates: number of bounds, M; with 1 this is the IWAE.
        gradient: ``standard``, ``stl`` or ``dreg``, as for `iwae`.
        beta: weight of log q(z|x) - log p(z) in the log-weights.

    Raises:
        RequestError: an argument out of range.

    Example:
        >>> model = miwae((8,), latent=2, samples=3, estimates=2)
        >>> model.objective.samples
        (3, 2)

    Reference:
        Rainforth et al., Tighter Variational Bounds are Not Necessarily Better, 2018. arXiv:1802.04537
    """
    objective = Importance(samples, estimates=estimates, gradient=gradient, beta=beta)
    return gaussian_autoencoder(as_spec(spec), objective, latent=latent, net=net, likelihood=likelihood)
