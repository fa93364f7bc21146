"""The sprites world: drawn shapes whose generating factors are known exactly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from narrows.check import choice, refuse, whole
from narrows.data.raw import Raw

__all__ = ["COLOURS", "FACTORS", "SHAPES", "SpritesTruth", "render", "sprites"]

FACTORS = ("shape", "scale", "rotation", "x", "y", "colour")
SHAPES = ("square", "ellipse", "heart")
COLOURS = np.array([[255, 255, 255], [230, 60, 50], [60, 180, 75], [60, 110, 230], [250, 200, 40], [160, 70, 200]])


@dataclass(frozen=True, eq=False)
class SpritesTruth:
    """The world itself: how many values each factor has, and how to draw any combination.

    Args:
        size: pixels a side.
        counts: how many values each factor of `FACTORS` has.
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
        colours: how many colours, 1 to 6.
        shapes: how many shapes, 1 to 3: square, ellipse, heart.
        scales: how many scales, evenly from 0.5 to 1.
        rotations: how many rotations, evenly around the circle.
        positions: how many positions along x and along y.
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
    if factors.ndim != 2 or factors.shape[1] != 6 or (factors < 0).any() or (factors >= np.array(counts)).any():
        raise refuse("factors", factors.shape, f"(B, 6) whole numbers below {counts}")
    grey = np.concatenate([_coverage(part, counts, size) for part in np.array_split(factors, -(-len(factors) // 256))])
    if not colour:
        return np.round(grey * 255).astype(np.uint8)[:, None]
    return np.round(grey[:, None] * COLOURS[factors[:, 5]][:, :, None, None]).astype(np.uint8)


def _coverage(factors: np.ndarray, counts: tuple[int, ...], size: int) -> np.ndarray:
    """The share of each pixel inside its shape, (B, size, size); coordinates run from 0 to 1 over the image."""

    def spread(column: int, low: float, high: float) -> np.ndarray:
        steps = max(1, counts[column] - 1)
        value = low + (high - low) * factors[:, column] / steps
        return value.astype(np.float32)[:, None, None]

    scale = spread(1, 0.5, 1.0) * np.float32(0.18)
    angle = (2 * np.pi * factors[:, 2] / counts[2]).astype(np.float32)[:, None, None]
    grid = (np.arange(size, dtype=np.float32) + 0.5) / size
    dx, dy = grid[None, None, :] - spread(3, 0.2, 0.8), grid[None, :, None] - spread(4, 0.2, 0.8)
    u, v = (np.cos(angle) * dx + np.sin(angle) * dy) / scale, (np.cos(angle) * dy - np.sin(angle) * dx) / scale
    distance = np.empty_like(u)
    for shape, edge in enumerate((_square, _ellipse, _heart)):
        mine = factors[:, 0] == shape
        if mine.any():
            distance[mine] = edge(u[mine], v[mine])
    return np.clip(0.5 - distance * scale * size, 0, 1)


def _square(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Signed distance to a square of half side 0.75 (largest norm: exact at the edges, not around corners)."""
    return np.maximum(np.abs(u), np.abs(v)) - np.float32(0.75)


def _ellipse(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """First-order signed distance to an ellipse with half axes 1 and 0.55: f / |grad f|."""
    a, b = np.float32(1.0), np.float32(0.55)
    f = (u / a) ** 2 + (v / b) ** 2 - 1
    return f / np.maximum(2 * np.hypot(u / a**2, v / b**2), np.float32(1e-3))


def _heart(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """First-order signed distance to the heart (p^2 + q^2 - 1)^3 = p^2 q^3, with p = 1.15 u and q = 0.1 - 1.15 v."""
    p, q = np.float32(1.15) * u, np.float32(0.1) - np.float32(1.15) * v
    r = p * p + q * q - 1
    f = r**3 - p**2 * q**3
    dp = 6 * p * r**2 - 2 * p * q**3
    dq = 6 * q * r**2 - 3 * p**2 * q**2
    return f / np.maximum(np.hypot(dp, dq) * np.float32(1.15), np.float32(1e-2))
