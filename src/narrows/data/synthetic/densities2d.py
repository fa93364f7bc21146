"""Points of the plane from densities that are known, with their exact scores."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from narrows.core.check import choice, refuse, whole
from narrows.data.raw import Raw

__all__ = ["PlaneTruth", "densities2d"]

KINDS = ("gaussians", "pinwheel", "spiral")
_RING, _RING_NOISE = 2.0, 0.2
"""Radius of the ring of eight Gaussians, and their standard deviation."""
_ARMS, _RADIAL, _TANGENTIAL, _TWIST = 5, 0.3, 0.1, 1.0
"""Arms of the pinwheel; standard deviations along and across an arm; radians that it turns for each unit of radius."""
_SPIRAL, _TURNS, _SPIRAL_NOISE = 400, 2.0, 0.1
"""Centres along the spiral, its turns, and its noise."""


@dataclass(frozen=True, eq=False)
class PlaneTruth:
    """The density of points in the plane: a mixture of Gaussians, twisted by a rotation that grows with the radius.

    The twist preserves areas, so that the density of a point is that of the point turned back.

    Args:
        centres: means before the twist, (K, 2).
        precisions: inverse covariances before the twist, (K, 2, 2).
        twist: radians for each unit of radius; 0 for a mixture of Gaussians.
    """

    centres: np.ndarray
    precisions: np.ndarray
    twist: float = 0.0

    def log_density(self, x: np.ndarray, noise: float = 0.0) -> np.ndarray:
        """Exact log p of points (N, 2), with Gaussian noise added to them, in nats, (N,).

        Raises:
            RequestError: noise on a twisted density, which has no closed form.
        """
        return self._with_score(x, noise)[0]

    def score(self, x: np.ndarray, noise: float = 0.0) -> np.ndarray:
        """The gradient of `log_density`, (N, 2).

        Example:
            >>> truth = PlaneTruth(np.zeros((1, 2)), np.eye(2)[None])
            >>> truth.score(np.array([[1.0, -2.0]]), noise=1.0).tolist()
            [[-0.5, 1.0]]
        """
        return self._with_score(x, noise)[1]

    def _with_score(self, x: np.ndarray, noise: float) -> tuple[np.ndarray, np.ndarray]:
        if noise and self.twist:
            raise refuse("noise", noise, "0 for a twisted density, which has no closed form with noise")
        x = np.asarray(x, np.float64)
        radius = np.linalg.norm(x, axis=1)
        turn = _rotations(-self.twist * radius)
        flat = np.einsum("nij,nj->ni", turn, x)
        precisions = self.precisions
        if noise:
            precisions = np.linalg.inv(np.linalg.inv(precisions) + noise**2 * np.eye(2))
        away = flat[:, None] - self.centres
        pulled = np.einsum("kij,nkj->nki", precisions, away)
        logs = 0.5 * np.linalg.slogdet(precisions)[1] - math.log(2 * math.pi * len(self.centres))
        logs = logs - 0.5 * (pulled * away).sum(-1)
        top = logs.max(1)
        shares = np.exp(logs - top[:, None])
        total = shares.sum(1)
        slope = -(shares[..., None] * pulled).sum(1) / total[:, None]
        return top + np.log(total), _through_turn(slope, flat, x, radius, turn, self.twist)


def _through_turn(
    slope: np.ndarray, flat: np.ndarray, x: np.ndarray, radius: np.ndarray, turn: np.ndarray, twist: float
) -> np.ndarray:
    """The gradient for x from that for R(-twist |x|) x, by the chain rule."""
    across = slope[:, 0] * flat[:, 1] - slope[:, 1] * flat[:, 0]  # slope . d flat / d(-angle)
    outward = x / np.maximum(radius, 1e-12)[:, None]
    return np.einsum("nji,nj->ni", turn, slope) + twist * across[:, None] * outward


def _rotations(angles: np.ndarray) -> np.ndarray:
    """Rotation matrices (N, 2, 2)."""
    c, s = np.cos(angles), np.sin(angles)
    return np.stack([np.stack([c, -s], -1), np.stack([s, c], -1)], -2)


def _gaussians() -> PlaneTruth:
    angles = 2 * np.pi * np.arange(8) / 8
    centres = _RING * np.stack([np.cos(angles), np.sin(angles)], 1)
    return PlaneTruth(centres, np.tile(np.eye(2) / _RING_NOISE**2, (8, 1, 1)))


def _pinwheel() -> PlaneTruth:
    turns = _rotations(2 * np.pi * np.arange(_ARMS) / _ARMS)
    precision = np.diag([1 / _RADIAL**2, 1 / _TANGENTIAL**2])
    return PlaneTruth(1.5 * turns[:, :, 0], turns @ precision @ turns.transpose(0, 2, 1), _TWIST)


def _spiral() -> PlaneTruth:
    share = np.sqrt(np.linspace(0.02, 1, _SPIRAL))  # equally dense along the arm
    angles = 2 * np.pi * _TURNS * share
    centres = 2.5 * share[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1)
    return PlaneTruth(centres, np.tile(np.eye(2) / _SPIRAL_NOISE**2, (_SPIRAL, 1, 1)))


_MAKERS: dict[str, Callable[[], PlaneTruth]] = {
    "gaussians": _gaussians,
    "pinwheel": _pinwheel,
    "spiral": _spiral,
}


def densities2d(kind: str = "gaussians", n: int = 20_000, seed: int = 0, tests: int = 2_000) -> Raw:
    """Draw points of the plane from a known density.

    Args:
        kind: ``gaussians``, eight on a ring; ``pinwheel``, five twisted arms; ``spiral``, two turns.
        n: training examples.
        seed: seed of the draws.
        tests: test examples.

    Example:
        >>> import narrows.data
        >>> source = narrows.data.open("densities2d", kind="spiral", n=100)
        >>> source.truth.score(source.test.x.numpy(), noise=0.1).shape
        (2000, 2)
    """
    truth = _MAKERS[choice("kind", kind, KINDS)]()
    rng = np.random.default_rng((seed, 11))
    total = whole("n", n) + whole("tests", tests)
    chosen = rng.integers(len(truth.centres), size=total)
    factors = np.linalg.cholesky(np.linalg.inv(truth.precisions))
    flat = truth.centres[chosen] + np.einsum("nij,nj->ni", factors[chosen], rng.standard_normal((total, 2)))
    x: Any = np.einsum("nij,nj->ni", _rotations(truth.twist * np.linalg.norm(flat, axis=1)), flat)
    x = x.astype(np.float32)
    return Raw(x[:n], test=Raw(x[n:], layout="vector"), layout="vector", scale="none", truth=truth)
