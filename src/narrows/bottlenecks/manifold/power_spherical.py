"""The power spherical distribution."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import Dirichlet

from narrows.bottlenecks.manifold.directional import Directional

__all__ = ["PowerSpherical"]

_LEAST = 1e-15
"""Smallest 1 + t at which the density is evaluated."""


class PowerSpherical(Directional):
    r"""The density (1 + mu' z)^kappa on the unit sphere: a Beta distribution of (1 + t) / 2.

    .. math:: p(z) = \frac{(1 + \mu^\top z)^\kappa}{2^{\alpha + \beta}\, \pi^\beta\,
              \Gamma(\alpha) / \Gamma(\alpha + \beta)},\quad
              \beta = \tfrac{Z - 1}{2},\; \alpha = \beta + \kappa,\qquad
              \tfrac{1 + t}{2} \sim \mathrm{Beta}(\alpha, \beta)

    Entropy and draws need no Bessel functions and no rejection. Opposite to mu the density is 0, so that importance
    weights have a large variance if the true posterior is wider.

    Args:
        direction: mu, unit vectors (B, Z).
        concentration: kappa, (B,).

    Example:
        >>> q = PowerSpherical(torch.eye(3), torch.tensor([0.0, 1.0, 100.0]))
        >>> q.mean.diagonal()
        tensor([0.0000, 0.3333, 0.9804])

    Reference:
        De Cao and Aziz, The Power Spherical Distribution, 2020. arXiv:2006.04437
    """

    def __init__(self, direction: Tensor, concentration: Tensor) -> None:
        super().__init__(direction, concentration)
        self.beta = 0.5 * (self.width - 1)
        self.alpha = self.beta + self.kappa

    def _log_normaliser(self) -> Tensor:
        total = self.alpha + self.beta
        powers = total * math.log(2) + self.beta * math.log(math.pi)
        return powers + self.alpha.lgamma() - total.lgamma()

    def versine(self, samples: tuple[int, ...]) -> Tensor:
        """Draws of (1 - t) / 2, Beta(beta, alpha), with implicit gradients."""
        both = torch.stack([self.alpha, torch.full_like(self.alpha, self.beta)], -1)
        return Dirichlet(both, validate_args=False).rsample(torch.Size(samples))[..., 1]

    def log_density(self, cosine: Tensor) -> Tensor:
        """kappa log(1 + t) minus the log of the normaliser."""
        return self.kappa * (1 + cosine).clamp_min(_LEAST).log() - self._log_normaliser()

    def moments(self) -> tuple[Tensor, Tensor]:
        """E[t] and E[t^2]."""
        total = self.alpha + self.beta
        first = self.alpha / total
        second = first * (self.alpha + 1) / (total + 1)
        return 2 * first - 1, 4 * second - 4 * first + 1

    def negentropy(self) -> Tensor:
        """kappa (log 2 + psi(alpha) - psi(alpha + beta)) minus the log of the normaliser."""
        rise = math.log(2) + self.alpha.digamma() - (self.alpha + self.beta).digamma()
        return self.kappa * rise - self._log_normaliser()
