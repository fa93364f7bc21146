"""The Wasserstein autoencoder."""

import math

from narrows.bottlenecks.deterministic.noiseless import Deterministic
from narrows.core import Autoencoder, Likelihood, Objective, Spec, as_spec
from narrows.core.check import choice
from narrows.core.schedules import Schedule
from narrows.methods.regularised._assemble import deterministic_autoencoder
from narrows.nets.build import code_width
from narrows.nets.kinds import Net
from narrows.objectives.adversarial import CodeAdversary
from narrows.objectives.discrepancy import Discrepancy


def wae(
    spec: Spec | tuple[int, ...],
    *,
    latent: int = 16,
    penalty: str = "mmd",
    weight: Schedule = "auto",
    sigma: float = 1.0,
    net: str | Net = "auto",
    likelihood: str | Likelihood = "squared",
) -> Autoencoder:
    r"""A WAE: a deterministic code, whose aggregate posterior is matched to N(0, sigma^2 I).

    .. math:: \min_{q, G} E_x E_{q(z|x)}[c(x, G(z))] + \lambda\, D(q(z), p(z))

    Args:
        penalty: D: ``mmd`` with an inverse multiquadratic kernel, or ``gan``, a critic of the codes.
        weight: lambda, a number or a schedule, relative to the cost of an example. ``auto`` is 0.25 for the
            MMD, 0.025 for the critic, times the number of elements of an example, since the cost grows with
            it; for the MMD on MNIST this is the weight of the authors' code.
        sigma: standard deviation of the prior.

    Raises:
        RequestError: an argument out of range.

    Example:
        >>> model = wae((8,), latent=2, penalty="gan")
        >>> model.sample(3).shape, [player.name for player in model.players()]
        (torch.Size([3, 8]), ['autoencoder', 'critic'])

    Reference:
        Tolstikhin et al., Wasserstein Auto-Encoders, 2018. arXiv:1711.01558
    """
    spec = as_spec(spec)
    latent = code_width(latent, spec.shape)
    adversarial = choice("penalty", penalty, ("mmd", "gan")) == "gan"
    bottleneck = Deterministic(latent, sigma)
    if weight == "auto":
        weight = (0.025 if adversarial else 0.25) * math.prod(spec.output_shape)
    objective: Objective = CodeAdversary(latent, weight) if adversarial else Discrepancy(weight, sigma)
    return deterministic_autoencoder(
        spec, latent, net=net, likelihood=likelihood, bottleneck=bottleneck, objective=objective
    )
