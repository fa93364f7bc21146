"""Several views of one Gaussian code: every joint, subset and conditional density of them is known exactly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from narrows.core.check import number, refuse, whole
from narrows.data.raw import Raw
from narrows.data.readers.views import RawViews

__all__ = ["GaussianViewsTruth", "draw_views", "gaussian_views"]


@dataclass(frozen=True, eq=False)
class GaussianViewsTruth:
    """x_m = W_m z + b_m + s_m e_m, with z and all e_m standard normal.

    Args:
        weights: W_m by view, (D_m, Z) each. Where the columns of each are orthogonal, the posterior of any subset is
            diagonal, and the product of one expert a view and the prior has it exactly.
        biases: b_m by view, (D_m,).
        noises: s_m by view, standard deviations.

    Example:
        >>> truth = GaussianViewsTruth(
        ...     {"a": np.ones((1, 1)), "b": np.ones((1, 1))}, {"a": np.zeros(1), "b": np.zeros(1)}, {"a": 1.0, "b": 1.0}
        ... )
        >>> x = {"a": np.zeros((1, 1)), "b": np.zeros((1, 1))}
        >>> both, one = truth.log_likelihood(x), truth.log_likelihood(x, ["a"])
        >>> bool(np.allclose(truth.log_conditional(x, ["b"], ["a"]), both - one))
        True
    """

    weights: Mapping[str, np.ndarray]
    biases: Mapping[str, np.ndarray]
    noises: Mapping[str, float]

    @property
    def names(self) -> tuple[str, ...]:
        """The views, in order."""
        return tuple(self.weights)

    def covariance(self, names: Sequence[str]) -> np.ndarray:
        """Of some views, one after the other: W W' + noise, (D, D)."""
        w = np.concatenate([self.weights[name] for name in names])
        noise = np.concatenate([np.full(len(self.biases[name]), self.noises[name] ** 2) for name in names])
        return w @ w.T + np.diag(noise)

    def log_likelihood(self, x: Mapping[str, np.ndarray], names: Sequence[str] | None = None) -> np.ndarray:
        """Exact log p of some views, all when None, in nats: (B, D_m) each -> (B,), in float64."""
        names = self._checked(self.names if names is None else names)
        centred = np.concatenate([self._centred(x, name) for name in names], 1)
        factor = np.linalg.cholesky(self.covariance(names))
        white = np.linalg.solve(factor, centred.T)
        log_det = 2 * np.log(np.diag(factor)).sum()
        return -0.5 * ((white**2).sum(0) + log_det + centred.shape[1] * np.log(2 * np.pi))

    def log_conditional(
        self, x: Mapping[str, np.ndarray], of: Sequence[str], given: Sequence[str]
    ) -> np.ndarray:
        """Exact log p(x_of | x_given), (B,), from the conditional Gaussian itself."""
        of, given = self._checked(of), self._checked(given)
        both = self.covariance([*of, *given])
        split = sum(len(self.biases[name]) for name in of)
        gain = np.linalg.solve(both[split:, split:], both[split:, :split]).T
        left = both[:split, :split] - gain @ both[split:, :split]
        known = np.concatenate([self._centred(x, name) for name in given], 1)
        error = np.concatenate([self._centred(x, name) for name in of], 1) - known @ gain.T
        factor = np.linalg.cholesky(left)
        white = np.linalg.solve(factor, error.T)
        log_det = 2 * np.log(np.diag(factor)).sum()
        return -0.5 * ((white**2).sum(0) + log_det + split * np.log(2 * np.pi))

    def posterior(self, x: Mapping[str, np.ndarray], names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Mean (B, Z) and covariance (Z, Z) of p(z | some views); without any, of the prior."""
        rows = len(next(iter(x.values())))
        latent = next(iter(self.weights.values())).shape[1]
        precision, shift = np.eye(latent), np.zeros((rows, latent))
        for name in names:
            scaled = self.weights[name] / self.noises[name] ** 2
            precision = precision + self.weights[name].T @ scaled
            shift = shift + self._centred(x, name) @ scaled
        covariance = np.linalg.inv(precision)
        return shift @ covariance, covariance

    def predict(self, x: Mapping[str, np.ndarray], of: str, given: Sequence[str]) -> np.ndarray:
        """E[x_of | x_given], (B, D_of): the best that a translation can be."""
        mean, _ = self.posterior(x, given)
        return mean @ self.weights[of].T + self.biases[of]

    def _centred(self, x: Mapping[str, np.ndarray], name: str) -> np.ndarray:
        view = np.asarray(x[name], np.float64)
        return view.reshape(len(view), -1) - self.biases[name]

    def _checked(self, names: Sequence[str]) -> list[str]:
        for name in names:
            if name not in self.weights:
                raise refuse("names", name, f"views among {', '.join(self.names)}")
        return list(names)


def draw_views(
    n: int, views: int, d: int, latent: int, noise: float, ratio: float, orthogonal: bool, seed: int
) -> tuple[dict[str, np.ndarray], GaussianViewsTruth]:
    """Draw the parameters, and n examples."""
    rng = np.random.default_rng((seed, 2))
    names = [chr(ord("a") + m) for m in range(whole("views", views, high=26))]
    whole("latent", latent, high=d if orthogonal else None, fix="Orthogonal columns fit into d rows.")
    weights = {name: rng.standard_normal((whole("d", d), latent)) / np.sqrt(latent) for name in names}
    if orthogonal:
        strengths = {name: rng.uniform(0.5, 1.5, latent) for name in names}
        weights = {name: np.linalg.qr(w)[0] * strengths[name] for name, w in weights.items()}
    first, step = number("noise", noise, low=1e-6), number("ratio", ratio, low=1e-6)
    truth = GaussianViewsTruth(
        weights,
        {name: rng.standard_normal(d) for name in names},
        {name: first * step**m for m, name in enumerate(names)},
    )
    z = rng.standard_normal((n, latent))
    x = {
        name: z @ weights[name].T + truth.biases[name] + truth.noises[name] * rng.standard_normal((n, d))
        for name in names
    }
    return {name: view.astype(np.float32) for name, view in x.items()}, truth


def gaussian_views(
    n: int = 10_000,
    views: int = 3,
    d: int = 8,
    latent: int = 4,
    noise: float = 0.5,
    ratio: float = 2.0,
    orthogonal: bool = True,
    seed: int = 0,
    tests: int = 2_000,
) -> RawViews:
    """Draw several views of one Gaussian code: x_m = W_m z + b_m + s_m e_m.

    Args:
        n: training examples.
        views: the number of views, M; their names are a, b, c ...
        d: width of each, D.
        latent: width of z, Z.
        noise: standard deviation of the noise of the first view.
        ratio: each view has so many times the noise of the one before.
        orthogonal: the columns of each W_m are orthogonal, so that the posterior of every subset is diagonal.
        seed: seed of the weights and of the draws.
        tests: test examples.

    Example:
        >>> import narrows.data
        >>> source = narrows.data.open("gaussian-views", n=100, d=4, latent=2)
        >>> x = {name: view.numpy() for name, view in source.test.all().x.values.items()}
        >>> source.truth.log_conditional(x, ["a"], ["b", "c"]).shape
        (2000,)
    """
    n, tests = whole("n", n), whole("tests", tests)
    arrays, truth = draw_views(n + tests, views, d, latent, noise, ratio, orthogonal, seed)

    def part(rows: slice) -> RawViews:
        parts = {name: Raw(view[rows], layout="vector", scale="none") for name, view in arrays.items()}
        there = np.ones((len(next(iter(parts.values())).x), len(parts)), bool)
        return RawViews(parts, there, truth=truth)

    source = part(slice(0, n))
    source.test = part(slice(n, None))
    return source
