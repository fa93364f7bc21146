"""The Poincaré ball: hyperbolic space of curvature -c inside a ball of R^Z."""

from __future__ import annotations

from torch import Tensor

__all__ = ["add", "distance", "exponential", "from_origin", "inside", "logarithm", "to_origin"]

_EDGE = 1e-5
"""Codes stay this far from the edge, relative to the radius: 12 units from the origin at curvature -1."""
_LEAST = 1e-15


def inside(z: Tensor, c: float) -> Tensor:
    """Points (..., Z) moved into the ball, where they are on its edge or outside."""
    most = (1 - _EDGE) / c**0.5
    return z * (most / z.norm(dim=-1, keepdim=True).clamp_min(most))


def add(x: Tensor, y: Tensor, c: float) -> Tensor:
    r"""The Möbius sum of points (..., Z).

    .. math:: x \oplus y = \frac{(1 + 2c\langle x, y\rangle + c|y|^2)\, x + (1 - c|x|^2)\, y}
              {1 + 2c\langle x, y\rangle + c^2 |x|^2 |y|^2}

    Example:
        >>> add(torch.tensor([0.5]), torch.tensor([0.5]), 1.0)  # tanh(2 artanh(1/2))
        tensor([0.8000])
    """
    xx, yy, xy = ((a * b).sum(-1, keepdim=True) for a, b in ((x, x), (y, y), (x, y)))
    top = (1 + 2 * c * xy + c * yy) * x + (1 - c * xx) * y
    return top / (1 + 2 * c * xy + c**2 * xx * yy)


def exponential(x: Tensor, v: Tensor, c: float) -> Tensor:
    r"""The end of the geodesic from x along v, tangent vectors whose norm is the length: (..., Z).

    .. math:: x \oplus \tanh(\tfrac12 \sqrt{c}\, |v|) \frac{v}{\sqrt{c}\, |v|}

    The norm of v is that of hyperbolic space, which is :math:`2 / (1 - c |x|^2)` times that of R^Z.

    Example:
        >>> exponential(torch.zeros(1), torch.tensor([2.0]), 1.0)
        tensor([0.7616])
    """
    return inside(add(x, from_origin(v, c), c), c)


def logarithm(x: Tensor, y: Tensor, c: float) -> Tensor:
    """The tangent vector at x whose geodesic ends at y, (..., Z): the inverse of `exponential`."""
    return to_origin(add(-x, y, c), c)


def from_origin(v: Tensor, c: float) -> Tensor:
    """`exponential` at the origin."""
    length = v.norm(dim=-1, keepdim=True).clamp_min(_LEAST) * c**0.5
    return v * ((0.5 * length).tanh() / length)


def to_origin(y: Tensor, c: float) -> Tensor:
    """`logarithm` at the origin."""
    length = y.norm(dim=-1, keepdim=True).clamp_min(_LEAST) * c**0.5
    return y * (2 * length.clamp(max=1 - 1e-12).atanh() / length)


def distance(x: Tensor, y: Tensor, c: float) -> Tensor:
    r"""The hyperbolic distance of points, (...).

    .. math:: \frac{2}{\sqrt{c}}\, \mathrm{arsinh} \frac{\sqrt{c}\, |x - y|}{\sqrt{(1 - c|x|^2)(1 - c|y|^2)}}

    Example:
        >>> distance(torch.zeros(1), torch.tensor([0.5]), 1.0).exp()  # (1 + 1/2) / (1 - 1/2)
        tensor(3.)
    """
    room = (1 - c * x.square().sum(-1)) * (1 - c * y.square().sum(-1))
    return 2 / c**0.5 * (c**0.5 * (x - y).norm(dim=-1) / room.sqrt()).asinh()
