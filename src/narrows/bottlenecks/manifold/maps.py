"""Maps of curves and surfaces: from codes to points of the plane, for drawings."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from narrows.core import Surface

__all__ = ["circle", "disc", "lines", "sphere", "torus", "triangle"]


def circle(z: Tensor) -> Surface:
    """Codes of the unit circle, (B, 2), as they are."""
    return Surface("circle", "The circle itself.", z, _ellipse(1.0, 1.0))


def sphere(z: Tensor) -> Surface:
    r"""Codes of the unit sphere, (B, 3), by the equal-area map of Hammer.

    .. math:: x = \frac{2 \sqrt{2} \cos\theta \sin(\varphi / 2)}{\sqrt{1 + \cos\theta \cos(\varphi / 2)}},\quad
              y = \frac{\sqrt{2} \sin\theta}{\sqrt{1 + \cos\theta \cos(\varphi / 2)}}

    Example:
        >>> sphere(torch.eye(3)).points.round(decimals=3).abs()
        tensor([[0.0000, 0.0000],
                [1.5310, 0.0000],
                [0.0000, 1.4140]])
    """
    longitude, sine = torch.atan2(z[:, 1], z[:, 0]), z[:, 2].clamp(-1, 1)
    cosine = (1 - sine.square()).sqrt()
    root = (1 + cosine * (longitude / 2).cos()).sqrt()
    x = 2 * math.sqrt(2) * cosine * (longitude / 2).sin() / root
    says = "An equal-area map of the sphere: left and right edges are one meridian, top and bottom the poles."
    return Surface("sphere", says, torch.stack([x, math.sqrt(2) * sine / root], 1), _ellipse(8**0.5, 2**0.5))


def torus(z: Tensor) -> Surface:
    """Codes of two circles, (B, 4), by their angles in degrees."""
    pairs = z.unflatten(1, (2, 2))
    angles = torch.rad2deg(torch.atan2(pairs[..., 1], pairs[..., 0]))
    says = "The two angles of the torus: left and right edges are the same, as are top and bottom."
    edge = torch.tensor([[-180.0, -180.0], [180.0, -180.0], [180.0, 180.0], [-180.0, 180.0]])
    return Surface("torus", says, angles, edge)


def lines(z: Tensor) -> Surface:
    """Codes of lines through the origin of R^3, (B, 9), by the equal-area map of half of the sphere."""
    matrix = z.unflatten(1, (3, 3))
    column = matrix.diagonal(dim1=1, dim2=2).argmax(1)
    u = matrix[torch.arange(len(z), device=z.device), column]
    u = u / u.norm(dim=1, keepdim=True)
    u = u * torch.where(u[:, 2:] < 0, -1.0, 1.0)
    points = u[:, :2] * (2 / (1 + u[:, 2:])).sqrt()
    says = "An equal-area map of half of the sphere: opposite points of the edge are the same line."
    return Surface("projective plane", says, points, _ellipse(2**0.5, 2**0.5))


def disc(z: Tensor, radius: float) -> Surface:
    """Codes of the Poincaré disc, (B, 2), as they are."""
    says = "The Poincaré disc, whose edge is infinitely far away."
    return Surface("Poincaré disc", says, z, _ellipse(radius, radius))


def triangle(z: Tensor) -> Surface:
    """Three shares, (B, 3), as points of a triangle whose corners are codes of one share.

    Example:
        >>> triangle(torch.eye(3)).points.tolist() == triangle(torch.eye(3)).outline.tolist()
        True
    """
    corners = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.5, 0.75**0.5]])
    says = "The simplex: at a corner one share is 1, and the others are 0."
    return Surface("simplex", says, z @ corners.to(z), corners)


def _ellipse(wide: float, high: float) -> Tensor:
    angles = torch.linspace(0, 2 * math.pi, 181)[:-1]
    return torch.stack([wide * angles.cos(), high * angles.sin()], 1)
