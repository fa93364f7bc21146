"""The diagonal Gaussian posterior: reparameterised draws and the KL divergence from the prior."""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import Tensor
from torch.distributions import Independent, Normal

from narrows.core import NO_CONDITION, Bottleneck, Code, Condition, Tree
from narrows.core.check import whole

__all__ = ["LOG_VARIANCE", "Diagonal", "Gaussian", "cost", "draw", "kl", "normal"]

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


def draw(q: Diagonal, samples: tuple[int, ...] = (), mean: bool = False) -> Tensor:
    """Draw z from a posterior, ``(*samples, ..., Z)``; with `mean` and no samples, return its mean."""
    return q.mean if mean and not samples else q.rsample(samples)


def cost(z: Tensor, q: Diagonal, p: Diagonal) -> Tensor:
    """The log-ratio log q(z) - log p(z) at a draw, an estimate of KL(q || p)."""
    return q.log_prob(z) - p.log_prob(z)


class Gaussian(Bottleneck):
    r"""q(z | x) = N(mu(x), diag sigma(x)^2) with the prior N(0, I).

    .. math:: z = \mu + \sigma \odot \epsilon,\quad \epsilon \sim N(0, I),\qquad
              \mathrm{kl} = \mathrm{KL}(q(z|x)\,\|\,p(z))

    The cost ``kl`` is the closed form; with `samples` it is log q(z | x) - log p(z) at each draw. In `eval()`
    and without samples, z is the mean.

    Args:
        latent: the width of the code, Z.

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

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.latent = whole("latent", latent)
        self.register_buffer("zero", torch.zeros(self.latent), persistent=False)
        self.register_buffer("one", torch.ones(self.latent), persistent=False)

    def prior(self) -> Diagonal:
        """The prior over one code, N(0, I)."""
        return Independent(Normal(self.zero, self.one, validate_args=False), 1, validate_args=False)

    def forward(self, h: Tree, samples: tuple[int, ...] = ()) -> Code:
        """Draw z from the posterior that the features (B, 2Z) describe."""
        q, p = normal(h), self.prior()
        z = draw(q, samples, mean=not self.training)
        return Code(z, {"kl": cost(z, q, p) if samples else kl(q)}, q, p)

    def sample(self, n: int, condition: Condition = NO_CONDITION) -> Code:
        """Draw n codes from the prior, (n, Z)."""
        p = self.prior()
        return Code(p.sample((n,)), p=p)
