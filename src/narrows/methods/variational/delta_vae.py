"""The delta-VAE."""

from torch import nn

from narrows.bottlenecks.priors.stationary import StationaryPrior
from narrows.core import Autoencoder, Likelihood, Part, Spec, as_spec
from narrows.core.schedules import Schedule
from narrows.methods.variational._assemble import gaussian_autoencoder
from narrows.nets.kinds import Net
from narrows.objectives.elbo import Elbo


def delta_vae(
    spec: Spec | tuple[int, ...],
    *,
    latent: int = 16,
    positions: int = 4,
    rate: float = 1.0,
    beta: Schedule = 1.0,
    net: str | Net = "auto",
    likelihood: str | Likelihood = "auto",
) -> Autoencoder:
    r"""A VAE whose rate cannot fall below delta: its prior is an AR(1) process, its posterior is not.

    .. math:: p(z_t | z_{t-1}) = N(a z_{t-1},\, 1 - a^2),\qquad
              \mathrm{KL} \ge \tfrac12 \left( (n - 2) \log(1 + a^2) - \log(1 - a^2) \right) = \delta

    The code is n positions of Z / n channels; delta is the least divergence of each channel. The encoder sees
    the whole example at every position, where the paper's posterior is causal.

    Args:
        positions: n, a divisor of Z.
        rate: delta, in nats of each channel; a follows from it.
        beta: weight of the KL divergence, a number or a schedule.

    Raises:
        RequestError: an argument out of range.

    Example:
        >>> model = delta_vae((8,), latent=4, positions=2, rate=0.5)
        >>> bool((model.encode(Batch(torch.randn(5, 8))).rate > 2 * 0.5).all())
        True

    Reference:
        Razavi, van den Oord, Poole, Vinyals, Preventing Posterior Collapse with delta-VAEs, 2019.
        arXiv:1901.03416
    """

    def prior(encoder: nn.Module, latent: int) -> Part:
        return StationaryPrior(latent, positions, rate)

    spec, objective = as_spec(spec), Elbo(beta=beta)
    return gaussian_autoencoder(spec, objective, latent=latent, net=net, likelihood=likelihood, prior=prior)
