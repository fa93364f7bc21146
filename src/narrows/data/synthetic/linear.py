"""Linear-Gaussian data with known exact likelihood, to test bounds and samplers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from narrows.core.check import number, refuse, whole
from narrows.data.raw import Raw

__all__ = ["LinearTruth", "linear"]


@dataclass(frozen=True, eq=False)
class LinearTruth:
    """x = W z + b + noise e, with z and e standard normal; so x ~ N(b, W W' + noise^2 I).

    Args:
        weight: W, (D, Z).
        bias: b, (D,).
        noise: standard deviation of the noise.
    """

    weight: np.ndarray
    bias: np.ndarray
    noise: float

    @property
    def covariance(self) -> np.ndarray:
        """W W' + noise^2 I, (D, D)."""
        return self.weight @ self.weight.T + self.noise**2 * np.eye(len(self.bias))

    def eigenvalues(self, given: int = 0) -> np.ndarray:
        """Those of the covariance of an example, or of what follows its first `given` numbers given them, ascending.

        Example:
            >>> LinearTruth(np.ones((2, 1)), np.zeros(2), 1.0).eigenvalues(given=1).tolist()
            [1.5]
        """
        left = self.covariance[given:, given:]
        if given:
            cross = self.covariance[given:, :given]
            left = left - cross @ np.linalg.solve(self.covariance[:given, :given], cross.T)
        values: np.ndarray = np.linalg.eigvalsh(left)
        return values

    def log_likelihood(self, x: np.ndarray, observed: np.ndarray | None = None) -> np.ndarray:
        """Exact log p of x, or of what is observed of it, in nats, (B, D) -> (B,), in float64.

        Example:
            >>> truth = LinearTruth(np.zeros((1, 1)), np.zeros(1), 1.0)
            >>> bool(np.isclose(truth.log_likelihood(np.zeros((1, 1)))[0], -0.5 * np.log(2 * np.pi)))
            True
        """
        x = np.asarray(x, np.float64).reshape(len(x), -1)
        if observed is None:
            return self._log_density(x, np.ones(len(self.bias), bool))
        out = np.zeros(len(x))
        for seen, rows in _patterns(observed):
            out[rows] = self._log_density(x[rows], seen)
        return out

    def _log_density(self, x: np.ndarray, seen: np.ndarray) -> np.ndarray:
        centred = (x - self.bias)[:, seen]
        factor = np.linalg.cholesky(self.covariance[np.ix_(seen, seen)])
        white = np.linalg.solve(factor, centred.T)
        log_det = 2 * np.log(np.diag(factor)).sum()
        return -0.5 * ((white**2).sum(0) + log_det + seen.sum() * np.log(2 * np.pi))

    def conditional(self, x: np.ndarray, observed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance of every cell given those that are observed, (B, D) each, in float64.

        What is observed has itself for its mean and no variance; what x holds elsewhere is not read.

        Example:
            >>> truth = LinearTruth(np.ones((2, 1)), np.zeros(2), 1.0)
            >>> mean, variance = truth.conditional(np.array([[3.0, np.nan]]), np.array([[True, False]]))
            >>> mean.tolist(), variance.tolist()
            ([[3.0, 1.5]], [[0.0, 1.5]])
        """
        mean, variance = np.asarray(x, np.float64).copy(), np.zeros(np.shape(x))
        for seen, rows in _patterns(observed):
            cross, inner = self.covariance[np.ix_(~seen, seen)], self.covariance[np.ix_(seen, seen)]
            gain = np.linalg.solve(inner, cross.T).T
            mean[np.ix_(rows, ~seen)] = (
                self.bias[~seen] + (mean[np.ix_(rows, seen)] - self.bias[seen]) @ gain.T
            )
            left = np.diag(self.covariance)[~seen] - (gain * cross).sum(1)
            variance[np.ix_(rows, ~seen)] = left
        return mean, variance

    def posterior(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean (B, Z) and covariance (Z, Z) of p(z | x)."""
        precision = np.eye(self.weight.shape[1]) + self.weight.T @ self.weight / self.noise**2
        covariance = np.linalg.inv(precision)
        return (np.asarray(x, np.float64) - self.bias) @ self.weight @ covariance / self.noise**2, covariance


def _patterns(observed: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Each pattern of what is observed, (D,), with the numbers of its rows."""
    patterns, which = np.unique(observed, axis=0, return_inverse=True)
    for i, seen in enumerate(patterns):
        yield seen, np.flatnonzero(which.ravel() == i)


def linear(
    n: int = 10_000,
    d: int = 16,
    latent: int = 4,
    noise: float = 0.5,
    seed: int = 0,
    tests: int = 2_000,
    spectrum: tuple[float, ...] = (),
    given: int = 0,
) -> Raw:
    """Draw x = W z + b + noise e.

    Args:
        n: training examples.
        d: width of the data, D.
        latent: width of z, Z.
        noise: standard deviation of the noise.
        seed: seed of the weights and of the draws.
        tests: test examples.
        spectrum: the largest eigenvalues of the data's covariance, one for each latent, each above noise^2; the
            others are noise^2. Without them, W is drawn.
        given: the target is what follows the first numbers of an example, which are given.

    Example:
        >>> import narrows.data
        >>> source = narrows.data.open("linear", n=100, d=3, latent=1)
        >>> source.truth.log_likelihood(source.test.x.numpy()).shape
        (2000,)
    """
    rng = np.random.default_rng((seed, 1))
    d, latent, total = whole("d", d), whole("latent", latent), whole("n", n) + whole("tests", tests)
    truth = LinearTruth(
        rng.standard_normal((d, latent)) / np.sqrt(latent),
        rng.standard_normal(d),
        number("noise", noise, low=1e-6),
    )
    if spectrum:
        truth = LinearTruth(_columns(rng, d, latent, spectrum, truth.noise), truth.bias, truth.noise)
    z = rng.standard_normal((total, latent))
    x = (z @ truth.weight.T + truth.bias + truth.noise * rng.standard_normal((total, d))).astype(np.float32)
    y = x[:, whole("given", given, low=0, high=d - 1) :] if given else None
    targets = (None, None) if y is None else (y[:n], y[n:])
    test = Raw(x[n:], target=targets[1], layout="vector")
    return Raw(x[:n], target=targets[0], test=test, layout="vector", scale="none", truth=truth)


def _columns(
    rng: np.random.Generator, d: int, latent: int, spectrum: tuple[float, ...], noise: float
) -> np.ndarray:
    """Orthogonal columns with which the covariance has the given largest eigenvalues, (D, Z)."""
    values = np.array([number("spectrum", one) for one in spectrum])
    if len(values) != latent or latent > d or values.min() <= noise**2:
        expected = f"{latent} numbers, each above noise^2 = {noise**2:.4g}; at most {d}"
        raise refuse("spectrum", tuple(spectrum), expected, "Change `latent`, `d` or `noise`.")
    axes = np.linalg.qr(rng.standard_normal((d, latent)))[0]
    columns: np.ndarray = axes * np.sqrt(values - noise**2)
    return columns
