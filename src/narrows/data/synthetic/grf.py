"""Gaussian random fields on the unit interval, of known eigenfunctions and eigenvalues, at any resolution."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from narrows.core.check import whole
from narrows.data.domain import Domain
from narrows.data.raw import Raw
from narrows.data.readers.fields import Fields, as_raw

__all__ = ["GRFTruth", "grf"]


@dataclass(frozen=True, eq=False)
class GRFTruth:
    r"""The expansion of a Gaussian random field: :math:`u(y) = \sum_k \sqrt{\lambda_k}\, \xi_k \phi_k(y)`.

    Args:
        eigenvalues: lambda, (M,), falling.
        brownian: whether the functions are those of Brownian motion, else sines with whole periods.
    """

    eigenvalues: np.ndarray
    brownian: bool = False

    def functions(self, y: np.ndarray) -> np.ndarray:
        """The eigenfunctions, orthonormal on the unit interval: (..., ) -> (..., M).

        Example:
            >>> GRFTruth(np.ones(2)).functions(np.array([0.0, 0.25])).round(3) + 0.0
            array([[0.   , 0.   ],
                   [1.414, 0.   ]])
        """
        k = np.arange(1, len(self.eigenvalues) + 1)
        rate = np.pi * (k - 0.5) if self.brownian else 2 * np.pi * k
        return np.asarray(np.sqrt(2) * np.sin(rate * np.asarray(y)[..., None]))

    def covariance(self, y: np.ndarray) -> np.ndarray:
        """Cov(u(y_i), u(y_j)), (P,) -> (P, P)."""
        functions = self.functions(y)
        return np.asarray((functions * self.eigenvalues) @ functions.T)


def grf(
    n: int = 4_000,
    points: int = 64,
    random: bool = False,
    brownian: bool = False,
    modes: int = 32,
    seed: int = 0,
    tests: int = 1_000,
) -> Raw:
    r"""Draw Gaussian random fields on the unit interval.

    .. math:: u(y) = \sum_{k=1}^{M} \sqrt{\lambda_k}\, \xi_k \sqrt{2}\, \sin(2 \pi k y),\quad
              \lambda_k = ((2 \pi k)^2 + 0.01)^{-2},\quad \xi_k \sim N(0, 1)

    The same seed gives the same functions, at any points.

    Args:
        n: training examples.
        points: points at which each function is known.
        random: draw them anew for each function, instead of a grid from end to end.
        brownian: Brownian motion instead: lambda_k = 1 / (pi (k - 1/2))^2, functions sqrt(2) sin(pi (k - 1/2) y).
        modes: terms of the sum, M.
        seed: seed of the draws.
        tests: test examples.

    Reference:
        Seidman and others, Variational Autoencoding Neural Operators, 2023, section 5. arXiv:2302.10351

    Example:
        >>> import narrows.data
        >>> narrows.data.open("grf", n=10, points=100).spec
        Spec(shape=(100, 1), kind='field', conditions={'positions': (100, 1)})
    """
    points, total = whole("points", points, low=2), whole("n", n) + whole("tests", tests)
    k = np.arange(1, whole("modes", modes) + 1)
    eigenvalues = 1 / (np.pi * (k - 0.5)) ** 2 if brownian else 1 / ((2 * np.pi * k) ** 2 + 0.01) ** 2
    truth = GRFTruth(eigenvalues, brownian)
    draws = np.random.default_rng((seed, 7)).standard_normal((total, modes)) * np.sqrt(eigenvalues)
    line = Domain((0.0,), (1.0,), () if random else (points,))
    if random:
        y = np.random.default_rng((seed, 8)).uniform(size=(total, points)).astype(np.float32)
        values = np.stack([truth.functions(row) @ draw for row, draw in zip(y, draws, strict=True)])
    else:
        y = line.points().numpy()[:, 0]
        values = draws @ truth.functions(y).T
    fields = as_raw(Fields(values.astype(np.float32)[..., None], y[..., None], line), truth=truth)
    return replace(fields.rows(slice(0, n)), test=fields.rows(slice(n, total)))
