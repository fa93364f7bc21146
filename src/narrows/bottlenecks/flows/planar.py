"""Planar and radial flows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from narrows.bottlenecks.flows.posterior import Amortised, Map
from narrows.core.check import whole

__all__ = ["Planar", "PlanarMap", "Radial", "RadialMap"]

_HALVINGS = 60
"""Bisections of the equation of the planar inverse, enough for double precision."""
_TINY = 1e-12
_AT_REST = math.log(math.e - 1)
"""The product w'u of the unconstrained u with which a planar map is the identity."""


class PlanarMap(NamedTuple):
    r"""Contraction or expansion across a hyperplane.

    .. math:: f(z) = z + \hat u \tanh(w^T z + b),\quad
              \hat u = u + \big(\log(1 + e^{w^T u}) - 1 - w^T u\big) \frac{w}{\|w\|^2},\qquad
              \det = 1 + \hat u^T w \,(1 - \tanh^2)

    With :math:`\hat u^T w > -1` it is invertible. The inverse solves an equation of one unknown, w'z + b.

    Args:
        u: (..., Z), unconstrained.
        w: (..., Z).
        b: (...).
        known: the constrained u, and 1 + its product with w, if they are known.
    """

    u: Tensor
    w: Tensor
    b: Tensor
    known: tuple[Tensor, Tensor] | None = None

    def constrained(self) -> tuple[Tensor, Tensor]:
        """The constrained u, and 1 + its product with w."""
        if self.known is not None:
            return self.known
        square, product = self.w.square().sum(-1), (self.w * self.u).sum(-1)
        away = F.softplus(product) - 1 - product
        share = away / square.clamp_min(_TINY)
        # As softplus itself where w is not tiny: adding and subtracting 1 would lose what is near 0.
        slope = torch.where(square > _TINY, F.softplus(product), 1 + product + share * square)
        return self.u + share[..., None] * self.w, slope

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The image, and log |det|."""
        u, slope = self.constrained()
        bent = torch.tanh((self.w * z).sum(-1) + self.b)
        return z + u * bent[..., None], _log_slope(slope, bent)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The origin, with gradients, and log |det| there."""
        u, slope = self.constrained()
        target = (self.w * z).sum(-1) + self.b
        with torch.no_grad():
            reach = (slope - 1).abs().expand_as(target) + _TINY
            low, high = target - reach, target + reach
            for _ in range(_HALVINGS):
                middle = (low + high) / 2
                below = middle + (slope - 1) * torch.tanh(middle) < target
                low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        # One step of Newton from the solution changes nothing but gives it the gradients.
        bent = torch.tanh(low)
        rise = (1 + (slope - 1) * (1 - bent.square())).detach()
        solved = low - (low + (slope - 1) * bent - target) / rise.clamp_min(_TINY)
        bent = torch.tanh(solved)
        return z - u * bent[..., None], _log_slope(slope, bent)


def _log_slope(slope: Tensor, bent: Tensor) -> Tensor:
    """log(1 + u'w (1 - tanh^2)), with slope = 1 + u'w > 0."""
    square = bent.square()
    return (square + slope * (1 - square)).log()


class RadialMap(NamedTuple):
    r"""Contraction or expansion around a point.

    .. math:: f(z) = z + \frac{\beta}{\alpha + r} (z - z_0),\quad r = \|z - z_0\|,\quad \beta > -\alpha

    Args:
        centre: z_0, (..., Z).
        alpha: (...), above 0.
        total: alpha + beta, (...), above 0, which makes it invertible.
    """

    centre: Tensor
    alpha: Tensor
    total: Tensor

    def _radius(self, z: Tensor) -> tuple[Tensor, Tensor]:
        away = z - self.centre
        return away, (away.square().sum(-1) + _TINY).sqrt()

    def _volume(self, r: Tensor, width: int) -> Tensor:
        a, t = self.alpha, self.total
        along = (r.square() + 2 * a * r + a * t) / (a + r).square()
        return (width - 1) * ((t + r) / (a + r)).log() + along.log()

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The image, and log |det|."""
        away, r = self._radius(z)
        grown = (self.total + r) / (self.alpha + r)
        return self.centre + grown[..., None] * away, self._volume(r, z.shape[-1])

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The origin, and log |det| there: the radius is the root of a quadratic equation."""
        away, far = self._radius(z)
        half = 0.5 * (far - self.total)
        r = half + (half.square() + self.alpha * far).sqrt()
        shrunk = (self.alpha + r) / (self.total + r)
        return self.centre + shrunk[..., None] * away, self._volume(r, z.shape[-1])


class Planar(Amortised):
    """K planar maps, see `PlanarMap`; u, w and b of each are outputs of the encoder.

    The encoder's outputs are added to random normals w of length 1 and to the u with which the maps are the identity.

    Args:
        latent: Z.
        length: number of maps, K.

    Raises:
        RequestError: an argument out of range.

    Reference:
        Rezende and Mohamed, Variational Inference with Normalizing Flows, 2015, section 4.1 and appendix A.
        arXiv:1505.05770
    """

    normals: Tensor

    def __init__(self, latent: int, *, length: int = 10) -> None:
        super().__init__()
        self.latent, self.length = whole("latent", latent), whole("length", length)
        self.inputs = self.length * (2 * self.latent + 1)
        self.register_buffer("normals", F.normalize(torch.randn(self.length, self.latent), dim=-1))

    def forward(self, h: Tensor) -> Sequence[Map]:
        """The maps for features (B, inputs)."""
        u, w, b = h.unflatten(-1, (self.length, -1)).split((self.latent, self.latent, 1), -1)
        u, w, b = u + _AT_REST * self.normals, w + self.normals, b.squeeze(-1)
        constrained, slope = PlanarMap(u, w, b).constrained()  # of all maps at once
        each = zip(
            u.unbind(-2), w.unbind(-2), b.unbind(-1), constrained.unbind(-2), slope.unbind(-1), strict=True
        )
        return [PlanarMap(u, w, b, (fixed, by)) for u, w, b, fixed, by in each]


class Radial(Amortised):
    """K radial maps, see `RadialMap`; centre, alpha and beta of each are outputs of the encoder.

    Args:
        latent: Z.
        length: number of maps, K.

    Raises:
        RequestError: an argument out of range.

    Reference:
        Rezende and Mohamed, Variational Inference with Normalizing Flows, 2015, section 4.1 and appendix A.
        arXiv:1505.05770
    """

    def __init__(self, latent: int, *, length: int = 10) -> None:
        super().__init__()
        self.latent, self.length = whole("latent", latent), whole("length", length)
        self.inputs = self.length * (self.latent + 2)

    def forward(self, h: Tensor) -> Sequence[Map]:
        """The maps for features (B, inputs)."""
        centre, scales = h.unflatten(-1, (self.length, -1)).split((self.latent, 2), -1)
        alpha, total = F.softplus(scales).unbind(-1)
        return [RadialMap(centre[..., k, :], alpha[..., k], total[..., k]) for k in range(self.length)]
