"""Points on a curved manifold of known dimension, in a space of any dimension, and outliers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from narrows.core.check import number, refuse, whole
from narrows.data.raw import Raw

__all__ = ["ManifoldTruth", "manifold"]

_BEND = 0.5
"""Height of the waves."""
_FAR = 3.0
"""Distance of the outliers from the origin, times the root mean square distance of the manifold."""


@dataclass(frozen=True, eq=False)
class ManifoldTruth:
    r"""x = U (u, sin(W u + b) / 2): a graph of waves over the cube, turned into the space of the data.

    Distances on the manifold do not depend on the dimension of the space: U has orthonormal columns.

    Args:
        basis: U, (D, 2 d).
        waves: W, (d, d).
        phases: b, (d,).
    """

    basis: np.ndarray
    waves: np.ndarray
    phases: np.ndarray

    def embed(self, u: np.ndarray) -> np.ndarray:
        """The points of coordinates u, (N, d) -> (N, D).

        Example:
            >>> ManifoldTruth(np.eye(2), np.zeros((1, 1)), np.zeros(1)).embed(np.ones((1, 1))).tolist()
            [[1.0, 0.0]]
        """
        bent = _BEND * np.sin(u @ self.waves.T + self.phases)
        points: np.ndarray = np.concatenate([u, bent], 1) @ self.basis.T
        return points

    def coordinates(self, x: np.ndarray) -> np.ndarray:
        """The coordinates u of points of the manifold, (N, D) -> (N, d)."""
        u: np.ndarray = (x @ self.basis)[:, : len(self.phases)]
        return u


def manifold(
    d: int = 2,
    D: int = 20,
    n: int = 4000,
    outliers: float = 0.0,
    seed: int = 0,
    tests: int = 2000,
) -> Raw:
    """Draw points of a curved manifold of dimension d in D dimensions.

    The d coordinates are uniform with mean 0 and variance 1.

    Args:
        d: dimension of the manifold.
        D: dimension of the examples, at least 2 d.
        n: training examples.
        outliers: share of the training examples that are replaced by points of a sphere around the manifold.
        seed: seed of manifold and draws.
        tests: test examples; none is an outlier.

    Raises:
        RequestError: `D` below 2 d, or a share that is not from 0 to below 1.

    Example:
        >>> import narrows.data
        >>> source = narrows.data.open("manifold", d=2, D=8, n=50, outliers=0.1)
        >>> source.spec.shape, source.truth.coordinates(source.test.x.numpy()).shape
        ((8,), (2000, 2))
    """
    if whole("D", D) < 2 * whole("d", d):
        raise refuse(
            "D", D, f"at least 2 d = {2 * d}", "The manifold is bent into as many directions as it has."
        )
    share = number("outliers", outliers, low=0)
    if share >= 1:
        raise refuse("outliers", outliers, "a share from 0 to below 1")
    rng = np.random.default_rng((seed, 12))
    waves = rng.standard_normal((d, d)) * np.sqrt(2 / d)
    phases = rng.uniform(0, 2 * np.pi, d)
    drawn = np.random.default_rng((seed, 13))  # the coordinates are the same in any space
    u = drawn.uniform(-np.sqrt(3), np.sqrt(3), (whole("n", n) + whole("tests", tests), d))
    basis, _ = np.linalg.qr(rng.standard_normal((D, 2 * d)))
    truth = ManifoldTruth(basis, waves, phases)
    x = truth.embed(u)
    far = _outliers(round(share * n), D, _FAR * np.sqrt((x**2).sum(1).mean()), rng)
    x[rng.choice(n, len(far), replace=False)] = far
    x = x.astype(np.float32)
    test = Raw(x[n:], layout="vector")
    return Raw(x[:n], test=test, layout="vector", scale="none", truth=truth)


def _outliers(count: int, width: int, radius: float, rng: np.random.Generator) -> np.ndarray:
    """Uniform points of a sphere, (count, width)."""
    away = rng.standard_normal((count, width))
    points: np.ndarray = radius * away / np.linalg.norm(away, axis=1, keepdims=True)
    return points
