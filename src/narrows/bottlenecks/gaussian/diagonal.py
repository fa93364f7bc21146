"""The diagonal Gaussian posterior: reparameterised draws and the KL divergence from the prior."""

from __future__ import annotations

import math
from typing import TypeAlias, TypeGuard, cast

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal

from narrows.bottlenecks.variational import Variational, antithetic
from narrows.core import Part, Tree
from narrows.core.check import whole

__all__ = [
    "LOG_VARIANCE",
    "Diagonal",
    "Gaussian",
    "diagonal",
    "draw",
    "joint_log_densities",
    "kl",
    "log_densities",
    "normal",
]

Diagonal: TypeAlias = "Independent[Normal]"

LOG_VARIANCE = (-20.0, 10.0)
"""The range that log-variances are clamped to: standard deviations from 5e-5 to 150."""


def normal(features: Tensor) -> Diagonal:
    """The diagonal Gaussian that features describe: the mean, then the log-variance.

    Args:
        features: (..., 2Z).

    Returns:
        The distribution over (..., Z), its last axis one event.

    Example:
        >>> q = normal(torch.tensor([[1.0, 2.0, 0.0, 100.0]]))
        >>> q.mean, q.stddev
        (tensor([[1., 2.]]), tensor([[  1.0000, 148.4132]]))
    """
    mean, log_variance = features.chunk(2, -1)
    # Validating the arguments at every step would cost more than the draw.
    scale = (0.5 * log_variance.clamp(*LOG_VARIANCE)).exp()
    return Independent(Normal(mean, scale, validate_args=False), 1, validate_args=False)


def kl(q: Diagonal, p: Diagonal | None = None, elementwise: bool = False) -> Tensor:
    r"""KL(q || p) of diagonal Gaussians, in closed form.

    .. math:: \sum_j \log\frac{s_j}{\sigma_j} + \frac{\sigma_j^2 + (\mu_j - m_j)^2}{2 s_j^2} - \frac12

    Args:
        q: mean mu and standard deviation sigma, (..., Z).
        p: mean m and standard deviation s, broadcastable to those of q; N(0, I) if None.
        elementwise: do not sum over the latents.

    Returns:
        Nats, (...), or (..., Z) per latent.

    Example:
        >>> kl(normal(torch.tensor([[2.0, 0.0]])))
        tensor([2.])
    """
    shift, ratio = q.base_dist.loc, q.base_dist.scale
    if p is not None:
        shift, ratio = (shift - p.base_dist.loc) / p.base_dist.scale, ratio / p.base_dist.scale
    terms = 0.5 * (ratio.square() + shift.square() - 1) - ratio.log()
    return terms if elementwise else terms.sum(-1)


def log_densities(z: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    """The log-density of each latent of each code under each of several Gaussians.

    Args:
        z: codes, (..., n, Z).
        loc: means of the Gaussians, (m, Z).
        scale: their standard deviations, (m, Z).

    Returns:
        Nats, (..., n, m, Z).

    Example:
        >>> log_densities(torch.zeros(2, 1), torch.tensor([[0.0], [1.0]]), torch.ones(2, 1))[..., 0]
        tensor([[-0.9189, -1.4189],
                [-0.9189, -1.4189]])
    """
    # Seven passes over all pairs, with the backward pass: quotients and factors of whole tables take more.
    away = (z.unsqueeze(-2) - loc) * (math.sqrt(0.5) * scale.reciprocal())
    return -(scale.log() + 0.5 * math.log(2 * math.pi)) - away.square()


def joint_log_densities(z: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    """The sum of `log_densities` over the latents, in half of the time: nats, (..., n, m).

    Example:
        >>> joint_log_densities(torch.zeros(2, 3), torch.tensor([[0.0] * 3, [1.0] * 3]), torch.ones(2, 3))
        tensor([[-2.7568, -4.2568],
                [-2.7568, -4.2568]])
    """
    away = (z.unsqueeze(-2) - loc) * (math.sqrt(0.5) * scale.reciprocal())
    return -(scale.log() + 0.5 * math.log(2 * math.pi)).sum(-1) - away.square().sum(-1)


def diagonal(distribution: Distribution | None) -> TypeGuard[Diagonal]:
    """Whether a distribution is a diagonal Gaussian."""
    return isinstance(distribution, Independent) and isinstance(distribution.base_dist, Normal)


def draw(q: Diagonal, samples: tuple[int, ...] = (), mean: bool = False) -> Tensor:
    """Draw z from a posterior, ``(*samples, ..., Z)``; with `mean` and no samples, return its mean."""
    return q.mean if mean and not samples else q.rsample(samples)


class Gaussian(Variational):
    r"""q(z | x) = N(mu(x), diag sigma(x)^2) with the prior N(0, I), or a learned one.

    .. math:: z = \mu + \sigma \odot \epsilon,\quad \epsilon \sim N(0, I),\qquad
              \mathrm{kl} = \mathrm{KL}(q(z|x)\,\|\,p(z))

    The cost ``kl`` is the closed form if the prior is a diagonal Gaussian; with `samples`, and with other priors
    in training, it is log q(z | x) - log p(z) at each draw; with other priors in `eval()` it is the mean over
    fixed antithetic draws. In `eval()` and without samples, z is the mean.

    Args:
        latent: the width of the code, Z.
        prior: a part whose ``forward()`` returns the prior over one code, with events (Z,); N(0, I) if None.

    Raises:
        RequestError: `latent` is not an integer of at least 1.

    Example:
        >>> code = Gaussian(2)(torch.zeros(3, 4), samples=(5,))
        >>> code.z.shape, code.costs["kl"].shape
        (torch.Size([5, 3, 2]), torch.Size([5, 3]))

    Reference:
        Kingma and Welling, Auto-Encoding Variational Bayes, 2014, appendix B. arXiv:1312.6114
    """

    zero: Tensor
    one: Tensor
    noise: Tensor

    def __init__(self, latent: int, prior: Part | None = None) -> None:
        super().__init__()
        self.latent = whole("latent", latent)
        self.register_buffer("zero", torch.zeros(self.latent), persistent=False)
        self.register_buffer("one", torch.ones(self.latent), persistent=False)
        self.learned = prior
        if prior is not None:  # saved with the weights: another version of torch may draw others
            self.register_buffer("noise", antithetic(self.latent))

    def standard(self) -> Diagonal:
        """N(0, I) over one code."""
        return Independent(Normal(self.zero, self.one, validate_args=False), 1, validate_args=False)

    def prior(self) -> Distribution:
        """The prior over one code."""
        return self.standard() if self.learned is None else cast(Distribution, self.learned())

    def posterior(self, h: Tree) -> Distribution:
        """The posterior that the features (B, 2Z) describe."""
        return normal(h)

    def divergence(self, q: Distribution, p: Distribution) -> Tensor | None:
        """KL(q || p) in closed form if both are diagonal Gaussians, or torch knows it."""
        if not diagonal(q) or not diagonal(p):
            return super().divergence(q, p)
        return kl(q) if self.learned is None else kl(q, p)

    def fixed_draws(self, q: Distribution, h: Tree) -> Tensor:
        """The mean plus and minus fixed multiples of the standard deviation, (K, B, Z)."""
        if not diagonal(q):
            return super().fixed_draws(q, h)
        noise = self.noise.view(-1, *[1] * len(q.batch_shape), self.latent)
        return q.base_dist.loc + q.base_dist.scale * noise
