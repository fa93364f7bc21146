"""Synthetic data: one periodic pattern under two cyclic shifts, a torus of images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from narrows.core.check import whole
from narrows.data.raw import Raw

__all__ = ["ShiftsTruth", "shifts"]

_WAVES = 2
"""The largest number of waves of the pattern along each side."""


@dataclass(frozen=True, eq=False)
class ShiftsTruth:
    r"""The pattern, as a Fourier series, and the image of any two shifts.

    .. math:: x(a, b) = \tfrac12 + \mathrm{Re} \sum_{k, l = -2}^{2} c_{kl}\, e^{i (k (a - s) + l (b - t))}

    Args:
        amplitudes: c, (5, 5) complex, scaled so that the pattern lies between 0 and 1. Places a, b and shifts s, t
            are angles; 2 pi are a side.
        size: pixels a side.
        positions: the number of values of each shift, which go once around.
    """

    amplitudes: np.ndarray
    size: int
    positions: int

    def render(self, angles: np.ndarray) -> np.ndarray:
        """Draw the pattern shifted by angles (B, 2) in radians, of which 2 pi are a side: (B, 1, size, size)."""
        waves = np.arange(-_WAVES, _WAVES + 1)
        grid = 2 * np.pi * np.arange(self.size) / self.size
        down, across = (np.exp(1j * waves * (grid[None, :, None] - angles[:, i, None, None])) for i in (0, 1))
        found: np.ndarray = np.einsum("bik,kl,bjl->bij", down, self.amplitudes, across).real
        return (0.5 + found[:, None]).astype(np.float32)

    def angles(self, factors: np.ndarray) -> np.ndarray:
        """The angles of numbered shifts (B, 2)."""
        return 2 * np.pi * np.asarray(factors) / self.positions

    def loop(self, along: int, steps: int, other: float = 0.0) -> np.ndarray:
        """Images of one shift once around, (steps, 1, size, size), the other at an angle."""
        angles = np.full((steps, 2), other)
        angles[:, along] = 2 * np.pi * np.arange(steps) / steps
        return self.render(angles)


def shifts(
    n: int = 10_000, size: int = 16, positions: int = 64, seed: int = 0, pattern: int = 0, tests: int = 2_000
) -> Raw:
    """Draw images of one smooth periodic pattern under two independent uniform cyclic shifts.

    The images are a torus: a continuous code that distinguishes all of them exists on a torus, but not in the plane
    or on a sphere.

    Args:
        n: training examples.
        size: pixels a side.
        positions: the number of values of each shift.
        seed: seed of the shifts.
        pattern: seed of the pattern.
        tests: test examples.

    Example:
        >>> import narrows.data
        >>> source = narrows.data.open("shifts", n=8, tests=2)
        >>> source.spec.shape, source.train.factor_names
        ((1, 16, 16), ('down', 'across'))
    """
    counts = whole("n", n) + whole("tests", tests)
    truth = ShiftsTruth(
        _pattern(pattern), whole("size", size, low=2 * _WAVES + 1), whole("positions", positions, low=2)
    )
    factors = np.random.default_rng((seed, 13)).integers(0, positions, (counts, 2))
    x = np.rint(255 * truth.render(truth.angles(factors))).astype(np.uint8)
    test = Raw(x[n:], factors=factors[n:], layout="chw")
    return Raw(
        x[:n], factors=factors[:n], factor_names=("down", "across"), test=test, layout="chw", truth=truth
    )


def _pattern(seed: int) -> np.ndarray:
    """Random amplitudes, smaller for more waves, without a constant."""
    waves = np.arange(-_WAVES, _WAVES + 1)
    squared = waves[:, None] ** 2 + waves[None, :] ** 2
    rng = np.random.default_rng((seed, 14))
    drawn = rng.standard_normal((*squared.shape, 2)) @ np.array([1, 1j])
    drawn = np.where(squared > 0, drawn / np.maximum(squared, 1), 0)
    fine = 2 * np.pi * np.arange(256) / 256
    basis = np.exp(1j * waves * fine[:, None])
    top = np.abs(np.einsum("ik,kl,jl->ij", basis, drawn, basis).real).max()
    scaled: np.ndarray = drawn / (2 * top)
    return scaled
