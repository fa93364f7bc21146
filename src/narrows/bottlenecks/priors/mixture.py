"""A mixture of diagonal Gaussians with learned weights, means and variances."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal, constraints

from narrows.bottlenecks.gaussian.diagonal import LOG_VARIANCE, Diagonal, joint_log_densities
from narrows.core import Part
from narrows.core.check import number, refuse, whole

__all__ = ["GaussianMixture", "Mixture"]

_NUMBERS = 1 << 23
"""The densities of so many latents at most are computed at once where no gradient is needed."""


class Mixture(MixtureSameFamily):
    r"""A mixture of K diagonal Gaussians over codes of width Z.

    .. math:: \log p(z) = \log \sum_k \pi_k\, N(z;\, \mu_k, \mathrm{diag}\,\sigma_k^2)

    Without gradients, log p of many codes is computed part by part, so that (N, K, Z) numbers need not fit
    into memory.

    Args:
        log_weights: logarithms of the weights up to a constant, (K,).
        components: the Gaussians, batch shape (K,) and events (Z,).

    Example:
        >>> from narrows.bottlenecks.gaussian.diagonal import normal
        >>> p = Mixture(torch.zeros(2), normal(torch.tensor([[-1.0, 0.0], [1.0, 0.0]])))
        >>> p.mean, p.variance, p.log_prob(torch.zeros(4, 1)).shape
        (tensor([0.]), tensor([2.]), torch.Size([4]))
    """

    def __init__(self, log_weights: Tensor, components: Diagonal) -> None:
        super().__init__(
            Categorical(logits=log_weights, validate_args=False), components, validate_args=False
        )

    @property
    def support(self) -> constraints.Constraint:
        """R^Z."""
        return constraints.real_vector

    def log_prob(self, value: Tensor) -> Tensor:
        """log p of codes (..., Z), in nats, (...)."""
        rows = value.reshape(-1, value.shape[-1])
        if torch.is_grad_enabled():
            found = self._joint(rows).logsumexp(-1)
        else:
            size = max(1, _NUMBERS // (self.component_distribution.batch_shape[0] * value.shape[-1]))
            found = torch.cat([self._joint(some).logsumexp(-1) for some in rows.split(size)])
        return found.view(value.shape[:-1])

    def _joint(self, rows: Tensor) -> Tensor:
        """log p(component, z) of codes (N, Z), (N, K)."""
        base = cast(Diagonal, self.component_distribution).base_dist
        each: Tensor = joint_log_densities(rows, base.loc, base.scale)
        return each + self.mixture_distribution.logits

    def responsibilities(self, z: Tensor) -> Tensor:
        """p(component | z) of codes (B, Z), (B, K)."""
        return self._joint(z).softmax(-1)


class GaussianMixture(Part):
    r"""The prior :math:`p(z) = \sum_k \pi_k N(\mu_k, \mathrm{diag}\,\sigma_k^2)`, all of it learned.

    Means begin at draws from N(0, `spread`^2 I), weights equal and variances 1.

    Args:
        latent: the width of the code, Z.
        components: their number, K.
        spread: standard deviation of the initial means; above 0, since equal components would stay equal.

    Raises:
        RequestError: an argument out of range.

    Example:
        >>> GaussianMixture(2, 10)().sample((3,)).shape
        torch.Size([3, 2])

    Reference:
        Jiang, Zheng, Tan, Tang, Zhou, Variational Deep Embedding, 2017. arXiv:1611.05148
    """

    def __init__(self, latent: int, components: int = 10, spread: float = 1.0) -> None:
        super().__init__()
        if not number("spread", spread) > 0:
            raise refuse("spread", spread, "a number above 0", "Try spread=1.")
        k, width = whole("components", components), whole("latent", latent)
        self.log_weights = nn.Parameter(torch.zeros(k))
        self.means = nn.Parameter(spread * torch.randn(k, width))
        self.log_variances = nn.Parameter(torch.zeros(k, width))

    def forward(self) -> Mixture:
        """The mixture over one code."""
        scale = (0.5 * self.log_variances.clamp(*LOG_VARIANCE)).exp()
        each = Independent(Normal(self.means, scale, validate_args=False), 1, validate_args=False)
        return Mixture(self.log_weights, each)
