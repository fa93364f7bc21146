"""Paths from data to Gaussian noise."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from narrows.core.check import choice, whole

__all__ = ["DDPM", "EDM", "PATHS", "Cosine", "Level", "Levels", "Linear", "Path", "make_path"]

_MARGIN = 1e-3
"""The bound of paths that end at no noise and no data stops so far from their ends."""


class Level(NamedTuple):
    """A level of noise: alpha and sigma of x_t = alpha x + sigma e, tensors of one shape."""

    alpha: Tensor
    sigma: Tensor

    @property
    def power(self) -> Tensor:
        """The variance of x_t where data have variance 1."""
        return self.alpha.square() + self.sigma.square()

    def like(self, x: Tensor) -> Level:
        """The levels of n states x (n, ...), with axes of size 1 for theirs."""
        shape = (-1, *[1] * (x.dim() - 1))
        return Level(self.alpha.to(x).view(shape), self.sigma.to(x).view(shape))


class Levels(NamedTuple):
    """Levels that a sampler passes, (S + 1,): from noise at t = 1 to data, alpha = 1 and sigma = 0."""

    times: Tensor
    alpha: Tensor
    sigma: Tensor

    @property
    def steps(self) -> int:
        """The number of steps, S."""
        return len(self.times) - 1


class Path:
    r"""A Gaussian path, from data at t = 0 to noise at t = 1.

    .. math:: x_t = \alpha_t x + \sigma_t \epsilon,\qquad \epsilon \sim N(0, I)

    A subclass defines `level` and `time`. The velocity of a path is v = a x + b e, with coefficients of `direction`.
    """

    ends_in_noise = True
    """Whether nothing of the data is left at t = 1: then noise at t = 1 does not determine the data."""
    by_ratio = False
    """Whether solvers advance in sigma/alpha instead of sigma/(alpha + sigma)."""
    most: int | None = None
    """The largest number of steps of a sampler, if it is limited."""
    span: tuple[float, float] = (_MARGIN, 1 - _MARGIN)
    """The times between which the bound evaluates the net; beyond, data are taken for N(0, I)."""

    def level(self, t: Tensor) -> Level:
        """alpha and sigma at times of any shape."""
        raise NotImplementedError(f"{type(self).__name__} must define level")

    def time(self, ratio: Tensor) -> Tensor:
        """The times at which sigma/alpha has these values: the inverse."""
        raise NotImplementedError(f"{type(self).__name__} must define time")

    def direction(self, level: Level) -> Level:
        """The coefficients (a, b) of the velocity v = a x + b e: -sigma and alpha where alpha^2 + sigma^2 = 1."""
        return Level(-level.sigma, level.alpha)

    def training_times(self, t: Tensor) -> Tensor:
        """The times of the path for times in (0, 1) that were drawn: the same, or the nearest above of a grid."""
        return t

    def levels(self, steps: int) -> Levels:
        """The levels that a sampler of some steps passes."""
        times = torch.linspace(1, 0, whole("steps", steps, high=self.most) + 1, dtype=torch.double)
        return self._ending(times)

    def _ending(self, times: Tensor) -> Levels:
        alpha, sigma = (value.clone() for value in self.level(times))
        alpha[-1], sigma[-1] = 1, 0
        return Levels(times, alpha, sigma)


class Linear(Path):
    r"""The straight path of flow matching.

    .. math:: x_t = (1 - t)\, x + t\, \epsilon,\qquad v = \epsilon - x

    Example:
        >>> [round(float(value), 2) for value in Linear().level(torch.tensor(0.25))]
        [0.75, 0.25]

    Reference:
        Lipman et al., Flow Matching for Generative Modeling, 2022. arXiv:2210.02747
    """

    def level(self, t: Tensor) -> Level:
        """alpha and sigma at times of any shape."""
        return Level(1 - t, t)

    def time(self, ratio: Tensor) -> Tensor:
        """The times at which sigma/alpha has these values."""
        return 1 / (1 + 1 / ratio)  # also where nothing of the data is left, and the ratio is infinite

    def direction(self, level: Level) -> Level:
        """The coefficients (-1, 1) of the velocity."""
        return Level(-torch.ones_like(level.alpha), torch.ones_like(level.sigma))


class Cosine(Path):
    r"""The path along a quarter of a circle.

    .. math:: x_t = \cos(\pi t/2)\, x + \sin(\pi t/2)\, \epsilon

    Example:
        >>> [round(float(value), 4) for value in Cosine().level(torch.tensor(0.5))]
        [0.7071, 0.7071]

    Reference:
        Nichol and Dhariwal, Improved Denoising Diffusion Probabilistic Models, 2021. arXiv:2102.09672
    """

    def level(self, t: Tensor) -> Level:
        """alpha and sigma at times of any shape."""
        angle = 0.5 * math.pi * t
        return Level(angle.cos(), angle.sin())

    def time(self, ratio: Tensor) -> Tensor:
        """The times at which sigma/alpha has these values."""
        return ratio.atan() * (2 / math.pi)


class DDPM(Path):
    r"""The chain of Ho, Jain and Abbeel, with T steps of variances that increase linearly.

    .. math:: \alpha_{i/T}^2 = \prod_{j \le i} (1 - \beta_j),\qquad \sigma^2 = 1 - \alpha^2

    Between two steps log alpha is interpolated.

    Args:
        steps: the number of steps of the chain, T.
        first: beta of the first step.
        last: beta of the last step.

    Example:
        >>> [round(float(value), 4) for value in DDPM().level(torch.tensor(1 / 1000))]
        [0.9999, 0.01]

    Reference:
        Ho, Jain, Abbeel, Denoising Diffusion Probabilistic Models, 2020. arXiv:2006.11239
    """

    ends_in_noise = False
    by_ratio = True

    def __init__(self, steps: int = 1000, first: float = 1e-4, last: float = 0.02) -> None:
        self.most = self.chain = whole("steps", steps, low=2)
        self.span = (1 / steps, 1.0)
        betas = torch.linspace(first, last, steps, dtype=torch.double)
        self.logs = torch.cat([betas.new_zeros(1), torch.log1p(-betas).cumsum(0)])
        """log alpha^2 of the steps 0, ..., T."""

    def level(self, t: Tensor) -> Level:
        """alpha and sigma at times of any shape."""
        place = t.double() * self.chain
        low = place.floor().clamp(0, self.chain - 1).long()
        logs = self.logs.to(t.device)
        log = torch.lerp(logs[low], logs[low + 1], place - low)
        return Level((0.5 * log).exp().to(t.dtype), (-torch.expm1(log)).sqrt().to(t.dtype))

    def time(self, ratio: Tensor) -> Tensor:
        """The times at which sigma/alpha has these values."""
        logs, wanted = -self.logs.to(ratio.device), torch.log1p(ratio.double().square())
        low = (torch.searchsorted(logs, wanted) - 1).clamp(0, self.chain - 1)
        share = (wanted - logs[low]) / (logs[low + 1] - logs[low])
        return ((low + share) / self.chain).to(ratio.dtype)

    def training_times(self, t: Tensor) -> Tensor:
        """The nearest step above a time in (0, 1)."""
        return (t * self.chain).ceil().clamp_min(1) / self.chain

    def levels(self, steps: int) -> Levels:
        """The levels of some of the chain's steps, the last T and the others as evenly spaced as can be."""
        fix = f"The chain of ``ddpm`` was trained with {self.chain} steps."
        steps = whole("steps", steps, high=self.most, fix=fix)
        places = (torch.linspace(self.chain, 0, steps + 1, dtype=torch.double)).round()
        return self._ending(places / self.chain)


class EDM(Path):
    r"""Noise that is added to the data, with standard deviations from 0.002 to 80.

    .. math:: x_t = x + \sigma_t \epsilon,\qquad
              \sigma_t = \left(0.002^{1/7} + t\,(80^{1/7} - 0.002^{1/7})\right)^7

    A sampler of S steps passes S such levels, the last with standard deviation 0.002, and then ends at 0.

    Example:
        >>> [round(float(value), 3) for value in EDM().level(torch.tensor([0.0, 1.0])).sigma]
        [0.002, 80.0]

    Reference:
        Karras, Aittala, Aila, Laine, Elucidating the Design Space of Diffusion-Based Generative Models, 2022.
        arXiv:2206.00364
    """

    ends_in_noise = False
    by_ratio = True
    span = (0.0, 1.0)
    _low, _high, _rho = 0.002, 80.0, 7.0

    def level(self, t: Tensor) -> Level:
        """alpha and sigma at times of any shape."""
        low, high = self._low ** (1 / self._rho), self._high ** (1 / self._rho)
        return Level(torch.ones_like(t), (low + t * (high - low)) ** self._rho)

    def time(self, ratio: Tensor) -> Tensor:
        """The times at which sigma has these values."""
        low, high = self._low ** (1 / self._rho), self._high ** (1 / self._rho)
        return (ratio ** (1 / self._rho) - low) / (high - low)

    def direction(self, level: Level) -> Level:
        """The coefficients of v = (e - sigma x) / sqrt(1 + sigma^2), the target of the preconditioned net."""
        norm = level.power.sqrt()
        return Level(-level.sigma / norm, level.alpha / norm)

    def levels(self, steps: int) -> Levels:
        """S levels, and the end."""
        times = torch.linspace(1, 0, max(whole("steps", steps), 2), dtype=torch.double)[:steps]
        return self._ending(torch.cat([times, times.new_zeros(1)]))


PATHS: Mapping[str, type[Path]] = {"linear": Linear, "cosine": Cosine, "ddpm": DDPM, "edm": EDM}
"""The paths that a text can name."""


def make_path(path: str) -> Path:
    """The path of a name.

    Raises:
        RequestError: there is no such path.

    Example:
        >>> make_path("ddpm").most
        1000
    """
    return PATHS[choice("path", path, tuple(PATHS))]()
