"""The linear dynamical system: series with gaps and holes whose exact likelihood the Kalman filter gives."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from narrows.core.check import number, refuse, whole
from narrows.data.dataset import Source
from narrows.data.raw import Raw
from narrows.data.sequences import listed, series_source

__all__ = ["LDSTruth", "draw_lds", "lds"]


@dataclass(frozen=True, eq=False)
class LDSTruth:
    r"""Damped rotations seen through a linear map, in continuous time.

    .. math:: z_{t+d} = e^{-\gamma d} R(\omega d)\, z_t + \sqrt{1 - e^{-2 \gamma d}}\;\eta,\quad
              x_t = W z_t + b + \sigma \epsilon

    with z, eta and epsilon standard normal. R turns each pair of states by its own frequency.

    Args:
        weight: W, (D, Z).
        bias: b, (D,).
        noise: sigma, standard deviation of the noise.
        damping: gamma, in units of 1 / time.
        frequencies: omega of each pair of states, (Z / 2,), in radians per unit of time.
    """

    weight: np.ndarray
    bias: np.ndarray
    noise: float
    damping: float
    frequencies: np.ndarray

    def transition(self, gap: np.ndarray) -> np.ndarray:
        """The matrices that take the state over gaps (...), (..., Z, Z).

        Example:
            >>> truth = LDSTruth(np.ones((1, 2)), np.zeros(1), 1.0, 0.0, np.array([np.pi]))
            >>> truth.transition(np.array(0.5)).round(6) + 0.0
            array([[ 0., -1.],
                   [ 1.,  0.]])
        """
        gap = np.asarray(gap, np.float64)
        angle = gap[..., None] * self.frequencies
        decay = np.exp(-self.damping * gap)[..., None]
        out = np.zeros((*gap.shape, self.weight.shape[1], self.weight.shape[1]))
        at = 2 * np.arange(len(self.frequencies))
        out[..., at, at] = out[..., at + 1, at + 1] = decay * np.cos(angle)
        out[..., at, at + 1], out[..., at + 1, at] = -decay * np.sin(angle), decay * np.sin(angle)
        return out

    def covariance(self, times: np.ndarray) -> np.ndarray:
        """Covariance of all values at some times (T,), one step after the other: (T D, T D)."""
        times = np.asarray(times, np.float64)
        past = self.transition(np.abs(times[:, None] - times))
        turned = np.where((times[:, None] >= times)[..., None, None], past, past.swapaxes(-1, -2))
        blocks = np.einsum("iz,stzy,jy->sitj", self.weight, turned, self.weight)
        size = len(times) * len(self.bias)
        return blocks.reshape(size, size) + self.noise**2 * np.eye(size)

    def log_likelihood(
        self, x: np.ndarray, times: np.ndarray | None = None, observed: np.ndarray | None = None
    ) -> np.ndarray:
        """Exact log-density of the observed values, in nats, by the Kalman filter in float64.

        Args:
            x: (B, T, D); what is not observed is not read.
            times: (B, T); 0, 1, 2 ... when None.
            observed: (B, T, D) bool; everything that is not NaN when None. A step without any is a mere gap.

        Returns:
            (B,).
        """
        x = np.asarray(x, np.float64)
        seen = ~np.isnan(x) if observed is None else np.asarray(observed, bool)
        times = np.broadcast_to(np.arange(x.shape[1]), x.shape[:2]) if times is None else np.asarray(times)
        total = np.zeros(len(x))
        mean, cov, last = self._stationary(len(x))
        for t in range(x.shape[1]):
            there = seen[:, t].any(1)
            gap = np.where(there & (last > -np.inf), times[:, t] - np.where(there, last, 0), 0.0)
            mean, cov = self._ahead(mean, cov, np.where(last > -np.inf, gap, 0.0))
            last = np.where(there, times[:, t], last)
            mean, cov, nats = self._update(mean, cov, x[:, t], seen[:, t])
            total += nats
        return total

    def _stationary(self, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        size = self.weight.shape[1]
        return np.zeros((n, size)), np.tile(np.eye(size), (n, 1, 1)), np.full(n, -np.inf)

    def _ahead(self, mean: np.ndarray, cov: np.ndarray, gap: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        turn = self.transition(gap)
        spread = (1 - np.exp(-2 * self.damping * gap))[:, None, None] * np.eye(mean.shape[1])
        return np.einsum("bzy,by->bz", turn, mean), turn @ cov @ turn.swapaxes(1, 2) + spread

    def _update(
        self, mean: np.ndarray, cov: np.ndarray, x: np.ndarray, seen: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        # A value that is not seen becomes 0 + noise of variance 1, apart from the state: its density is taken out.
        weight = np.where(seen[..., None], self.weight, 0.0)
        apart = np.einsum("bd,de->bde", np.where(seen, self.noise**2, 1.0), np.eye(len(self.bias)))
        surprise = np.where(seen, x - self.bias, 0.0) - np.einsum("bdz,bz->bd", weight, mean)
        spread = weight @ cov @ weight.swapaxes(1, 2) + apart
        gain = np.linalg.solve(spread, weight @ cov).swapaxes(1, 2)
        white = np.linalg.solve(spread, surprise[..., None])[..., 0]
        nats = -0.5 * (
            (surprise * white).sum(1) + np.linalg.slogdet(spread)[1] + seen.sum(1) * np.log(2 * np.pi)
        )
        return mean + np.einsum("bzd,bd->bz", gain, surprise), cov - gain @ weight @ cov, nats


def draw_lds(
    rng: np.random.Generator,
    n: int,
    steps: int,
    d: int,
    latent: int,
    noise: float,
    damping: float,
    irregular: bool,
) -> tuple[np.ndarray, np.ndarray, LDSTruth]:
    """Draw a system, and n series from it.

    Returns:
        The values (n, steps, D), their times (n, steps), and the system.

    Raises:
        RequestError: a size out of range, or an odd number of states.
    """
    if whole("latent", latent, low=2) % 2:
        raise refuse("latent", latent, "an even number: the states turn in pairs")
    n, steps, d = whole("n", n), whole("steps", steps), whole("d", d)
    weight = rng.standard_normal((d, latent)) / np.sqrt(latent)
    frequencies = rng.uniform(0.2, 1.2, latent // 2)
    truth = LDSTruth(
        weight,
        rng.standard_normal(d),
        number("noise", noise, low=1e-6),
        number("damping", damping, low=1e-6),
        frequencies,
    )
    gap = rng.exponential(1.0, (n, steps)) if irregular else np.ones((n, steps))
    times = np.cumsum(gap, 1) - gap[:, :1]
    z = rng.standard_normal((n, latent))
    x = np.empty((n, steps, d))
    for t in range(steps):
        if t:
            step = gap[:, t]
            fresh = np.sqrt(1 - np.exp(-2 * truth.damping * step))[:, None] * rng.standard_normal((n, latent))
            z = np.einsum("bzy,by->bz", truth.transition(step), z) + fresh
        x[:, t] = z @ weight.T + truth.bias + truth.noise * rng.standard_normal((n, d))
    return x, times, truth


def lds(
    n: int = 2000,
    steps: int = 20,
    d: int = 3,
    latent: int = 4,
    noise: float = 0.3,
    damping: float = 0.1,
    irregular: bool = False,
    holes: float = 0.0,
    shortest: int = 0,
    seed: int = 0,
    tests: int = 1000,
) -> Source:
    """Series of one linear dynamical system, whose exact likelihood `LDSTruth` gives.

    Args:
        n: training series.
        steps: steps of the longest, T.
        d: numbers a step, D.
        latent: states, an even number.
        noise: standard deviation of the noise.
        damping: how fast the past is forgotten, in units of 1 / step.
        irregular: gaps between steps are drawn, with mean 1, instead of being 1.
        holes: share of the numbers that nobody observed.
        shortest: steps of the shortest series; all are equally long when 0.
        seed: seed of the system and of the draws.
        tests: test series.

    Example:
        >>> import narrows.data
        >>> source = narrows.data.open("lds", n=10, steps=5, holes=0.2)
        >>> batch = source.test.all(4)
        >>> source.truth.log_likelihood(batch.x.numpy(), None, batch.condition["observed"].numpy()).shape
        (4,)
    """
    rng = np.random.default_rng((seed, 5))
    n, total = whole("n", n), n + whole("tests", tests)
    x, times, truth = draw_lds(rng, total, steps, d, latent, noise, damping, irregular)
    x[rng.random(x.shape) < number("holes", holes, low=0, high=0.99)] = np.nan
    low = whole("shortest", shortest, low=0, high=steps) or steps
    lengths = rng.integers(low, steps, total, endpoint=True)
    rows = listed([row[:length] for row, length in zip(x, lengths, strict=True)])
    stores = {"times": listed([t[:k] for t, k in zip(times, lengths, strict=True)])} if irregular else {}
    parts = (slice(0, n), slice(n, total))
    train, test = (Raw(rows[part], stores={k: v[part] for k, v in stores.items()}) for part in parts)
    return series_source(replace(train, test=test, truth=truth, scale="none"), "lds")
