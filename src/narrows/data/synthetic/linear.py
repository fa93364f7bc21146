"""The linear-Gaussian world: its exact likelihood is known, so bounds and samplers can be held to it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from narrows.core.check import number, whole
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

    def log_likelihood(self, x: np.ndarray) -> np.ndarray:
        """Exact log p(x) in nats, (B, D) -> (B,), in float64.

        Example:
            >>> truth = LinearTruth(np.zeros((1, 1)), np.zeros(1), 1.0)
            >>> bool(np.isclose(truth.log_likelihood(np.zeros((1, 1)))[0], -0.5 * np.log(2 * np.pi)))
            True
        """
        centred = np.asarray(x, np.float64).reshape(len(x), -1) - self.bias
        factor = np.linalg.cholesky(self.covariance)
        white = np.linalg.solve(factor, centred.T)
        log_det = 2 * np.log(np.diag(factor)).sum()
        return -0.5 * ((white**2).sum(0) + log_det + len(self.bias) * np.log(2 * np.pi))

    def posterior(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean (B, Z) and covariance (Z, Z) of p(z | x)."""
        precision = np.eye(self.weight.shape[1]) + self.weight.T @ self.weight / self.noise**2
        covariance = np.linalg.inv(precision)
        return (np.asarray(x, np.float64) - self.bias) @ self.weight @ covariance / self.noise**2, covariance


def linear(
    n: int = 10_000, d: int = 16, latent: int = 4, noise: float = 0.5, seed: int = 0, tests: int = 2_000
) -> Raw:
    """Draw x = W z + b + noise e.

    Args:
        n: training examples.
        d: width of the data, D.
        latent: width of z, Z.
        noise: standard deviation of the noise.
        seed: seed of the weights and of the draws.
        tests: test examples.

    Example:
        >>> import narrows.data
        >>> source = narrows.data.open("linear", n=100, d=3, latent=1)
        >>> source.truth.log_likelihood(source.test.x.numpy()).shape
        (2000,)
    """
    rng = np.random.default_rng((seed, 1))
    d, latent, total = whole("d", d), whole("latent", latent), whole("n", n) + whole("tests", tests)
    weight = rng.standard_normal((d, latent)) / np.sqrt(latent)
    truth = LinearTruth(weight, rng.standard_normal(d), number("noise", noise, low=1e-6))
    z = rng.standard_normal((total, latent))
    x = (z @ weight.T + truth.bias + truth.noise * rng.standard_normal((total, d))).astype(np.float32)
    return Raw(x[:n], test=Raw(x[n:], layout="vector"), layout="vector", scale="none", truth=truth)
