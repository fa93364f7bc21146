"""Synthetic data: images of shapes with known generating factors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from narrows.core.check import choice, refuse, whole
from narrows.data.raw import Raw

__all__ = ["COLOURS", "FACTORS", "SHAPES", "SpritesTruth", "render", "sprites"]

FACTORS = ("shape", "scale", "rotation", "x", "y", "colour")
SHAPES = ("square", "ellipse", "heart")
_RADIUS, _REACH = 0.2, 0.25
"""Of the unit in which shapes are written, and of the largest shape in any rotation; the image side is 1."""
_CHUNK = 512
COLOURS = np.array(
    [[255, 255, 255], [230, 60, 50], [60, 180, 75], [60, 110, 230], [250, 200, 40], [160, 70, 200]]
)


@dataclass(frozen=True, eq=False)
class SpritesTruth:
    """The number of values of each factor, and the image of any combination.

    Args:
        size: pixels a side.
        counts: the number of values of each factor of `FACTORS`.
        colour: whether images have three channels.
    """

    size: int
    counts: tuple[int, ...]
    colour: bool

    def render(self, factors: np.ndarray) -> np.ndarray:
        """Draw combinations of factors, (B, 6) whole numbers -> (B, C, size, size) bytes."""
        return render(factors, self.counts, self.size, self.colour)

    def draw(self, n: int, seed: int) -> np.ndarray:
        """n combinations of factors, each factor uniform and independent, (n, 6)."""
        rng = np.random.default_rng((seed, 4))
        return np.stack([rng.integers(0, count, n) for count in self.counts], 1)


def sprites(
    n: int = 20_000,
    size: int = 64,
    colours: int = 1,
    shapes: int = 3,
    scales: int = 6,
    rotations: int = 40,
    positions: int = 32,
    seed: int = 0,
    tests: int = 5_000,
) -> Raw:
    """Draw shapes with independent uniform factors: shape, scale, rotation, x, y and colour.

    The factors and their counts are those of dSprites (Matthey et al. 2017), the drawing is our own and smooth at
    the edges. With one colour images have one channel, white on black; with more they have three.

    Args:
        n: training examples.
        size: pixels a side, 32 or 64.
        colours: the number of colours, 1 to 6.
        shapes: the number of shapes, 1 to 3: square, ellipse, heart.
        scales: the number of scales, evenly from 0.5 to 1.
        rotations: the number of rotations, evenly around the circle.
        positions: the number of positions along x and along y.
        seed: seed of the factors.
        tests: test examples.

    Example:
        >>> import narrows.data
        >>> source = narrows.data.open("sprites", n=8, size=32, tests=2)
        >>> source.spec.shape, source.train.factor_names, source.train.factors.shape
        ((1, 32, 32), ('shape', 'scale', 'rotation', 'x', 'y', 'colour'), torch.Size([8, 6]))
    """
    choice("size", size, (32, 64))
    counts = (
        whole("shapes", shapes, high=len(SHAPES)),
        whole("scales", scales),
        whole("rotations", rotations),
        whole("positions", positions),
        positions,
        whole("colours", colours, high=len(COLOURS)),
    )
    truth = SpritesTruth(size, counts, colours > 1)
    factors = truth.draw(whole("n", n) + whole("tests", tests), seed)
    x = truth.render(factors)
    test = Raw(x[n:], factors=factors[n:], layout="chw")
    return Raw(x[:n], factors=factors[:n], factor_names=FACTORS, test=test, layout="chw", truth=truth)


def render(factors: np.ndarray, counts: tuple[int, ...], size: int, colour: bool) -> np.ndarray:
    """Draw combinations of factors, (B, 6) -> (B, C, size, size) bytes.

    A pixel's brightness is its share inside the shape, from a signed distance to the edge: 1/2 - distance / pixel,
    cut to 0 .. 1.
    """
    factors = np.asarray(factors)
    if (
        factors.ndim != 2
        or factors.shape[1] != 6
        or (factors < 0).any()
        or (factors >= np.array(counts)).any()
    ):
        raise refuse("factors", factors.shape, f"(B, 6) whole numbers below {counts}")
    side = int(np.ceil(_REACH * size)) + 1
    canvas = np.zeros((len(factors), size + 4 * side, size + 4 * side), np.uint8)
    for start in range(0, len(factors), _CHUNK):
        part = slice(start, start + _CHUNK)
        patch, top, left = _patches(factors[part], counts, size, side)
        rows, columns = (first[:, None] + np.arange(2 * side) + 2 * side for first in (top, left))
        canvas[np.arange(len(factors))[part, None, None], rows[:, :, None], columns[:, None, :]] = patch
    grey = np.ascontiguousarray(canvas[:, None, 2 * side : -2 * side, 2 * side : -2 * side])
    if not colour:
        return grey
    tint = COLOURS[factors[:, 5]][:, :, None, None].astype(np.uint16)
    return ((grey * tint + np.uint16(127)) // np.uint16(255)).astype(np.uint8)


def _patches(
    factors: np.ndarray, counts: tuple[int, ...], size: int, side: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Brightness near the shape in bytes, (B, 2 side, 2 side), and the row and column where the patch begins."""

    def spread(column: int, low: float, high: float) -> np.ndarray:
        return (low + (high - low) * factors[:, column] / max(1, counts[column] - 1)).astype(np.float32)

    scale = (spread(1, 0.5, 1.0) * _RADIUS * size)[:, None, None]
    angle = (2 * np.pi * factors[:, 2] / counts[2]).astype(np.float32)
    x, y = spread(3, 0.25, 0.75) * size - 0.5, spread(4, 0.25, 0.75) * size - 0.5
    left, top = np.floor(x).astype(int) - side + 1, np.floor(y).astype(int) - side + 1
    pixels = np.arange(2 * side, dtype=np.float32)
    dx, dy = pixels + (left - x).astype(np.float32)[:, None], pixels + (top - y).astype(np.float32)[:, None]
    dx, dy = dx[:, None, :] / scale, dy[:, :, None] / scale
    cos, sin = np.cos(angle)[:, None, None], np.sin(angle)[:, None, None]
    u, v = cos * dx + sin * dy, cos * dy - sin * dx
    distance = np.empty_like(u)
    for shape, edge in enumerate((_square, _ellipse, _heart)):
        mine = factors[:, 0] == shape
        if mine.any():
            distance[mine] = edge(u[mine], v[mine])
    share = np.clip(0.5 - distance * scale, 0, 1)
    return (share * 255 + np.float32(0.5)).astype(np.uint8), top, left


def _square(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Signed distance to a square of half side 0.75 (largest norm: exact at the edges, not around corners)."""
    return np.maximum(np.abs(u), np.abs(v)) - np.float32(0.75)


def _ellipse(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """First-order signed distance to an ellipse with half axes 1 and 0.55: f / |grad f|."""
    u, v = u / np.float32(1.0), v / np.float32(0.55)
    f = u * u + v * v - 1
    return f / np.maximum(2 * np.hypot(u, v / np.float32(0.55)), np.float32(1e-3))


def _heart(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """First-order signed distance to the heart r^3 = p^2 q^3, r = p^2 + q^2 - 1, p = 1.15 u, q = 0.1 - 1.15 v."""
    p, q = np.float32(1.15) * u, np.float32(0.1) - np.float32(1.15) * v
    pp, qq = p * p, q * q
    r = pp + qq - 1
    rr = r * r
    f = r * rr - pp * qq * q
    dp, dq = 2 * p * (3 * rr - qq * q), 3 * q * (2 * rr - pp * q)
    return f / np.maximum(np.hypot(dp, dq) * np.float32(1.15), np.float32(1e-2))
