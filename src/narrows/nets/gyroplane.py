"""Affine functions on hyperbolic space: signed distances to gyroplanes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Gyroplanes"]


class Gyroplanes(nn.Module):
    r"""Signed distances of points of the Poincaré ball to W gyroplanes, times the lengths of their normals.

    .. math:: f_k(z) = \frac{|a_k|}{\sqrt{c}}\, \mathrm{arsinh}
              \frac{2 \sqrt{c}\, \langle -p_k \oplus z,\, a_k\rangle}{(1 - c\,|-p_k \oplus z|^2)\, |a_k|}

    A gyroplane is the union of the geodesics through p that are orthogonal to a. For small c this is the affine
    function 2 <a, z - p>.

    Args:
        latent: width of a point, Z.
        width: number of gyroplanes, W.
        c: minus the curvature.

    Reference:
        Ganea, Becigneul, Hofmann, Hyperbolic Neural Networks, 2018. arXiv:1805.09112
        Mathieu et al., Continuous Hierarchical Representations with Poincaré Variational Auto-Encoders, 2019.
        arXiv:1901.06033
    """

    def __init__(self, latent: int, width: int, c: float) -> None:
        super().__init__()
        self.c = c
        self.normals = nn.Parameter(torch.randn(width, latent) / (2 * latent**0.5))
        self.tangents = nn.Parameter(torch.randn(width, latent))

    def forward(self, z: Tensor) -> Tensor:
        """From points (..., Z) to (..., W)."""
        root = self.c**0.5
        lengths = self.tangents.norm(dim=-1, keepdim=True).clamp_min(1e-9) * root
        minus = -self.tangents * ((0.5 * lengths).tanh() / lengths)  # -p, always in the ball
        along = self.normals.norm(dim=-1).clamp_min(1e-9)
        own, square = self.c * minus.square().sum(-1), self.c * z.square().sum(-1, keepdim=True)
        # numerator and denominator of the Möbius sum -p + z, whose common divisor cancels
        first = 1 + 2 * self.c * z @ minus.T + square
        across = first * (minus * self.normals).sum(-1) + (1 - own) * (z @ self.normals.T)
        room = ((1 - own) * (1 - square)).clamp_min(1e-9)
        return along / root * (2 * root * across / (room * along)).asinh()
