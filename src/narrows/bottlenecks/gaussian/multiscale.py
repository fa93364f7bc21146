"""Gaussian posteriors with one mean and a variance for each weight of the KL divergence."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution

from narrows.bottlenecks.gaussian.diagonal import Gaussian, kl, normal
from narrows.core import Code, Tree
from narrows.core.check import whole

__all__ = ["MultiscaleGaussian"]


class MultiscaleGaussian(Gaussian):
    r"""q_s(z | x) = N(mu(x), diag sigma_s(x)^2) for several scales s, with the prior N(0, I).

    The features of an example are the mean, then the log-variances of each scale, (B, (1 + S) Z). The posterior of the
    bottleneck is that of one scale; `every` draws from all.

    Args:
        latent: the width of the code, Z.
        scales: their number, S.
        own: the scale whose posterior is that of the bottleneck.

    Example:
        >>> part = MultiscaleGaussian(2, 3)
        >>> part.every(torch.zeros(5, 8)).z.shape, part(torch.zeros(5, 8)).z.shape
        (torch.Size([3, 5, 2]), torch.Size([5, 2]))
    """

    def __init__(self, latent: int, scales: int, own: int = 0) -> None:
        super().__init__(latent)
        self.scales = whole("scales", scales)
        self.own = whole("own", own, low=0, high=scales - 1)

    def posterior(self, h: Tree) -> Distribution:
        """The posterior of the bottleneck's own scale."""
        mean, log_variance = self._parts(h)
        return normal(torch.cat([mean, log_variance[self.own]], -1))

    def every(self, h: Tensor) -> Code:
        """A draw from the posterior of each scale, (S, B, Z), and its KL divergence, (S, B)."""
        mean, log_variance = self._parts(h)
        q = normal(torch.cat([mean.expand_as(log_variance), log_variance], -1))
        return Code(q.rsample(), {"kl": kl(q)}, q, self.standard())

    def _parts(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """The mean (B, Z), and the log-variances (S, B, Z)."""
        parts = h.unflatten(-1, (1 + self.scales, self.latent)).movedim(-2, 0)
        return parts[0], parts[1:]
