"""The von Mises-Fisher distribution."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Beta

from narrows.bottlenecks.manifold.directional import Directional, log_area

__all__ = ["VonMisesFisher"]

_NODES = 96
"""Nodes of Gauss-Legendre quadrature over the angle between z and mu."""
_WIDTHS = 12.0
"""Half the interval of the angle, in standard deviations: outside, the density is below the precision of float64."""


@lru_cache
def _legendre(device: torch.device) -> tuple[Tensor, Tensor]:
    nodes, weights = (torch.from_numpy(x).to(device) for x in np.polynomial.legendre.leggauss(_NODES))
    return (nodes + 1) / 2, weights / 2


def _mapped(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Nodes between two ends and the logarithms of their weights, (..., N)."""
    nodes, weights = _legendre(low.device)
    span = (high - low)[..., None]
    return low[..., None] + span * nodes, (span * weights).clamp_min(1e-300).log()


class VonMisesFisher(Directional):
    r"""The density proportional to exp(kappa mu' z) on the unit sphere.

    .. math:: p(z) = \frac{e^{\kappa t}}{C},\quad
              C = A_{Z-2} \int_0^\pi \sin^{Z-2}\!\varphi\; e^{\kappa \cos\varphi}\, d\varphi,\quad t = \mu^\top z

    with the area A of the sphere of one dimension less. The integral, a Bessel function up to a factor, and its
    moments are computed by quadrature, to the precision of float64 for every Z and kappa. Draws of t are accepted or
    rejected, after Wood; their gradient is that of the quantile,

    .. math:: \frac{dt}{d\kappa} = \frac{1}{f(t)} \int_t^1 (u - E[t])\, f(u)\, du

    Args:
        direction: mu, unit vectors (B, Z).
        concentration: kappa, (B,).

    Example:
        >>> q = VonMisesFisher(torch.eye(3), torch.tensor([0.1, 1.0, 100.0]))
        >>> q.mean.diagonal()  # coth(kappa) - 1 / kappa
        tensor([0.0333, 0.3130, 0.9900])

    Reference:
        Davidson, Falorsi, De Cao, Kipf, Tomczak, Hyperspherical Variational Auto-Encoders, 2018. arXiv:1804.00891
        Wood, Simulation of the von Mises Fisher distribution, 1994.
    """

    def __init__(self, direction: Tensor, concentration: Tensor) -> None:
        super().__init__(direction, concentration)
        power, kappa = self.width - 2, self.kappa.detach()
        mode = 2 * kappa / (power + (power**2 + 4 * kappa.square()).sqrt()).clamp_min(1e-300)
        bend = kappa * mode + (power / (1 - mode.square()) if power else 0)
        middle, spread = mode.clamp(max=1).acos(), _WIDTHS / bend.clamp_min(1e-12).sqrt()
        self.low, self.high = (middle - spread).clamp_min(0), (middle + spread).clamp_max(np.pi)
        angle, weights = _mapped(self.low, self.high)
        self.cosine = angle.cos()
        logs = weights + power * angle.sin().clamp_min(1e-300).log()
        # e^(kappa (cos - 1)), so that nothing overflows
        self.logs = logs + self.kappa[..., None] * (self.cosine - 1)

    def _log_normaliser(self) -> Tensor:
        """log C - kappa."""
        return self.logs.logsumexp(-1) + log_area(self.width - 1)

    def log_density(self, cosine: Tensor) -> Tensor:
        """kappa t - log C."""
        return self.kappa * (cosine - 1) - self._log_normaliser()

    def moments(self) -> tuple[Tensor, Tensor]:
        """E[t] and E[t^2]."""
        shares = self.logs.softmax(-1)
        return (shares * self.cosine).sum(-1), (shares * self.cosine.square()).sum(-1)

    def negentropy(self) -> Tensor:
        """kappa E[t] - log C."""
        return self.log_density(self.moments()[0])

    def versine(self, samples: tuple[int, ...]) -> Tensor:
        """Draws of (1 - t) / 2."""
        with torch.no_grad():
            drawn = self._accepted(self.kappa.expand(*samples, *self.kappa.shape))
            slope = self._quantile_slope(drawn)
        return drawn - 0.5 * slope * (self.kappa - self.kappa.detach())

    def _accepted(self, kappa: Tensor) -> Tensor:
        """Wood's draws of (1 - t) / 2, each proposed until it is accepted."""
        half = 0.5 * (self.width - 1)
        scale = half / (kappa + (kappa.square() + half**2).sqrt())
        centre = (1 - scale) / (1 + scale)
        least = kappa * centre + 2 * half * (1 - centre.square()).log()
        proposal = Beta(torch.full_like(kappa, half), torch.full_like(kappa, half), validate_args=False)
        drawn, wanted = torch.zeros_like(kappa), torch.ones_like(kappa, dtype=torch.bool)
        while wanted.any():
            beta = proposal.sample()
            versine = scale * beta / (1 - (1 - scale) * beta)
            t = 1 - 2 * versine
            gain = kappa * t + 2 * half * (1 - centre * t).log() - least
            taken = wanted & (gain >= torch.rand_like(gain).log())
            drawn, wanted = torch.where(taken, versine, drawn), wanted & ~taken
        return drawn

    def _quantile_slope(self, drawn: Tensor) -> Tensor:
        """dt / d kappa at fixed quantiles, integrated on the side of t where nothing cancels."""
        power, mean = self.width - 2, self.moments()[0]
        t, angle = 1 - 2 * drawn, 2 * drawn.clamp(0, 1).sqrt().asin()
        low, high = self.low.expand_as(angle), self.high.expand_as(angle)
        above = t > mean
        nodes, weights = _mapped(
            torch.where(above, torch.minimum(low, angle), angle),
            torch.where(above, angle, torch.maximum(high, angle)),
        )
        logs = weights + power * nodes.sin().clamp_min(1e-300).log()
        logs = logs - ((power - 1) * angle.sin().clamp_min(1e-150).log())[..., None]
        rise = (logs + self.kappa[..., None] * (nodes.cos() - t[..., None])).exp()
        return (rise * (nodes.cos() - mean[..., None]).abs()).sum(-1)
