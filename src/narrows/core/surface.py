"""`Surface`: codes that lie on a curve or a surface, in coordinates in which they can be drawn."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

__all__ = ["Surface"]


@dataclass(frozen=True)
class Surface:
    """Codes of a curve or a surface as points of the plane.

    Args:
        name: what it is, such as ``circle`` or ``torus``.
        says: how it is laid out in the plane.
        points: the codes, (B, 2).
        outline: the edge of the drawing, a closed line (M, 2).
    """

    name: str
    says: str
    points: Tensor
    outline: Tensor
