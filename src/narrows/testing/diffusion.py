"""`check_diffusion`: the properties that a path of a diffusion model must have, built-in or not."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from narrows.core import seeded
from narrows.diffusion.bound import bound
from narrows.diffusion.paths import PATHS, Level, Levels, Path, make_path
from narrows.diffusion.predictions import PREDICTIONS, Denoised, express, gaussian, read
from narrows.diffusion.samplers import draw
from narrows.testing.case import MethodError

__all__ = ["DIFFUSION", "check_diffusion"]

_MEAN, _SCALE = 0.3, 0.7
_EXACT = 1e-9
_STEPS = 64


def _require(truth: bool | Tensor, path: Path, what: str) -> None:
    if not bool(truth):
        raise MethodError(f"The path {type(path).__name__} lacks a property: {what}")


def _times() -> Tensor:
    return torch.linspace(0.01, 0.99, 99, dtype=torch.double)


def _posterior(path: Path, mean: float, scale: float) -> Callable[[Tensor, Tensor], Denoised]:
    """The exact posterior means of data and noise where each number of the data is N(mean, scale^2)."""

    def denoise(state: Tensor, t: Tensor) -> Denoised:
        level = path.level(t)
        alpha, sigma = level.like(state) if t.dim() else level
        away = (state - alpha * mean) / (alpha**2 * scale**2 + sigma**2)
        return Denoised(mean + alpha * scale**2 * away, sigma * away)

    return denoise


def ends(path: Path) -> None:
    """At t = 0 there are data, at t = 1 noise, and the noise's share grows all the way."""
    t = torch.tensor([0.0, *_times().tolist(), 1.0], dtype=torch.double)
    alpha, sigma = path.level(t)
    _require(abs(alpha[0] - 1) < 1e-3 and sigma[0] < 1e-2, path, "at t = 0, alpha is 1 and sigma nearly 0.")
    _require(alpha[-1] < 0.02 * sigma[-1], path, "at t = 1, alpha is at most a fiftieth of sigma.")
    _require(((sigma / alpha).diff() > 0).all(), path, "sigma/alpha grows with t.")


def times_and_ratios(path: Path) -> None:
    """`time` is the inverse of sigma/alpha."""
    alpha, sigma = path.level(_times())
    found = path.time(sigma / alpha)
    _require((found - _times()).abs().max() < 1e-6, path, "`time` is the inverse of sigma/alpha.")


def conversions(path: Path) -> None:
    """Every prediction determines the others, exactly."""
    generator = torch.Generator().manual_seed(0)
    x, e = torch.randn(2, 99, 5, generator=generator, dtype=torch.double)
    level = path.level(_times()).like(x)
    state = level.alpha * x + level.sigma * e
    for name in PREDICTIONS:
        told = express(name, Denoised(x, e), level, path)
        found = read(name, told, state, level, path)
        conditioning = 1 + level.sigma / level.alpha + level.alpha / level.sigma
        off = max(((a - b) / conditioning).abs().max() for a, b in zip(found, (x, e), strict=True))
        _require(off < _EXACT, path, f"data and noise are exactly those of the prediction `{name}`.")


def gaussian_data(path: Path) -> None:
    """Where data are N(0, I), posterior means, velocity and score are those of the joint Gaussian."""
    state = torch.linspace(-3, 3, 99, dtype=torch.double)[:, None].requires_grad_()
    level = path.level(_times()).like(state)
    variance = level.alpha**2 + level.sigma**2
    (score,) = torch.autograd.grad((-0.5 * state.square() / variance).sum(), state)
    found = gaussian(state, level)
    expected = Denoised(level.alpha / variance * state, -level.sigma * score)
    for a, b in zip(found, expected, strict=True):
        _require((a - b).abs().max() < _EXACT, path, "posterior means of N(0, I) are exact.")
    told = express("score", found, level, path)
    _require((told - score).abs().max() < 1e-6, path, "the score of N(0, I) is exact.")
    a, b = path.direction(level)
    velocity = express("v", found, level, path)
    _require(
        (velocity - (a * level.alpha + b * level.sigma) / variance * state).abs().max() < _EXACT,
        path,
        "the velocity of N(0, I) is exact.",
    )


def orders(path: Path) -> None:
    """With the exact net, the error of Euler's method halves with twice the steps, that of Heun's and AB2 quarters."""
    start = torch.linspace(-2, 2, 21, dtype=torch.double)
    for solver, expected in (("euler", 2.0), ("ddim", 2.0), ("heun", 4.0), ("ab2", 4.0)):
        errors = []
        for steps in (_STEPS, 2 * _STEPS):
            levels = _even(path, steps)
            found = draw(_posterior(path, _MEAN, _SCALE), start, path, levels, sampler=solver)
            alpha, sigma = levels.alpha[0], levels.sigma[0]
            # along the equation, the state standardised with its own mean and deviation does not change
            still = (sigma * start - alpha * _MEAN) / (alpha**2 * _SCALE**2 + sigma**2).sqrt()
            errors.append((found - (_MEAN + _SCALE * still)).square().mean().sqrt())
        ratio = float(errors[0] / errors[1])
        said = f"twice the steps of `{solver}` divide its error by {expected:g}, not by {ratio:.2f}."
        _require(abs(ratio / expected - 1) < 0.2, path, said)


def ancestral(path: Path) -> None:
    """`ddim` with eta = 1 is ancestral sampling: draws of q(x_s | x_t, x) at the predicted data."""
    denoise, levels = _posterior(path, _MEAN, _SCALE), _even(path, 8)
    noise = torch.linspace(-2, 2, 21, dtype=torch.double)
    found = []
    for how in ({"sampler": "ddpm"}, {"sampler": "ddim", "eta": 1.0}):
        with seeded(1):
            found.append(draw(denoise, noise, path, levels, **how))
    with seeded(1):
        x = levels.sigma[0] * noise
        for i, j in pairwise(range(levels.steps + 1)):
            guess, (alpha, sigma) = denoise(x, levels.times[i]).x, (levels.alpha[i], levels.sigma[i])
            later = Level(levels.alpha[j], levels.sigma[j])
            if later.sigma == 0:
                x = guess
                continue
            share = alpha / later.alpha
            step = sigma**2 - share**2 * later.sigma**2
            precision = 1 / later.sigma**2 + share**2 / step
            mean = (later.alpha * guess / later.sigma**2 + share * x / step) / precision
            x = mean + precision**-0.5 * torch.randn_like(x)
    for one in found:
        _require((one - x).abs().max() < 1e-6, path, "`ddim` with eta = 1 is ancestral sampling.")


def exact_bound(path: Path) -> None:
    """With the exact net the bound of N(0, I) is its likelihood, and so is that of another Gaussian, on average."""
    with seeded(2):
        x = torch.randn(50, 3, dtype=torch.double)
        exact = 0.5 * (x.square() + math.log(2 * math.pi)).sum(1)
        off = (bound(_posterior(path, 0, 1), x, path, points=8) - exact).abs().max()
        _require(off < 1e-6, path, f"the bound of N(0, I) is exact, but is off by {off:.2g} nats.")
        x = _MEAN + _SCALE * torch.randn(4000, 3, dtype=torch.double)
        exact = (0.5 * (((x - _MEAN) / _SCALE).square() + math.log(2 * math.pi)) + math.log(_SCALE)).sum(1)
        off = (bound(_posterior(path, _MEAN, _SCALE), x, path) - exact).mean().abs()
    _require(off < 0.05, path, f"the bound of a Gaussian is its likelihood, but is off by {off:.2g} nats.")


def _even(path: Path, steps: int) -> Levels:
    """Levels whose noise's share of the whole falls in equal steps, from nine tenths."""
    share = torch.linspace(0.9, 0, steps + 1, dtype=torch.double)
    times = path.time(share / (1 - share))
    alpha, sigma = (value.clone() for value in path.level(times))
    alpha[-1], sigma[-1] = 1, 0
    return Levels(times, alpha, sigma)


DIFFUSION = (ends, times_and_ratios, conversions, gaussian_data, orders, ancestral, exact_bound)
"""The properties, each a function that raises if a path lacks it."""


def check_diffusion(path: str | Path | None = None) -> list[str]:
    """Check the properties that a path of a diffusion model must have.

    The properties: ends in data and noise, the inverse of sigma/alpha, exact conversions between predictions of data,
    noise, velocity and score, posterior means, velocity, score and bound of Gaussian data in closed form, the orders
    of the solvers, and that `ddim` with eta = 1 is ancestral sampling.

    Args:
        path: a path, or the name of one; if None, all that have names.

    Returns:
        The names of the properties that hold.

    Raises:
        MethodError: a property does not hold.

    Example:
        >>> check_diffusion("linear")[:3]
        ['ends', 'times_and_ratios', 'conversions']

    Reference:
        Luo, Understanding Diffusion Models: A Unified Perspective, 2022. arXiv:2208.11970
    """
    for one in PATHS if path is None else (path,):
        checked = make_path(one) if isinstance(one, str) else one
        for holds in DIFFUSION:
            holds(checked)
    return [holds.__name__ for holds in DIFFUSION]
