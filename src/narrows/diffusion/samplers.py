"""Samplers of diffusion models: from noise to data, by a net that separates them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from narrows.core.check import choice, number
from narrows.diffusion.ode import SOLVERS, solve
from narrows.diffusion.paths import Levels, Path
from narrows.diffusion.predictions import Denoised

__all__ = ["SAMPLERS", "Denoise", "draw"]

Denoise: TypeAlias = Callable[[Tensor, Tensor], Denoised]
"""Data and noise of states (n, ...) at a time, a scalar tensor."""

SAMPLERS = ("ddpm", "ddim", *SOLVERS)
"""``ddpm`` is ancestral sampling; ``ddim`` interpolates between it (eta = 1) and ``euler`` (eta = 0)."""


@torch.no_grad()
def draw(
    denoise: Denoise, noise: Tensor, path: Path, levels: Levels, *, sampler: str = "ddim", eta: float = 0.0
) -> Tensor:
    r"""Carry noise to data.

    .. math::
        x_s = \alpha_s \hat x + \sqrt{\sigma_s^2 - b^2}\, \hat\epsilon + b\, \epsilon,\qquad
        b^2 = \eta^2\, \frac{\sigma_s^2}{\sigma_t^2}
              \left(\sigma_t^2 - \frac{\alpha_t^2}{\alpha_s^2} \sigma_s^2\right)

    This is ``ddim``; with eta = 1 it is ancestral sampling, ``ddpm``. The other samplers solve the ordinary
    differential equation that eta = 0 approximates, in coordinates in which Euler's method equals ``ddim``: x/alpha
    over sigma/alpha, with slope e, for ``ddpm`` and ``edm``; x/(alpha + sigma) over sigma/(alpha + sigma), with slope
    e - x, for ``linear`` and ``cosine``. Their last step is Euler's, since the noise of data is not defined.

    Args:
        denoise: the net, of states and a scalar time.
        noise: draws of N(0, I), (n, ...).
        path: the path it was trained on.
        levels: the levels to pass, see `Path.levels`.
        sampler: a name of `SAMPLERS`.
        eta: the share of new noise of ``ddim``, from 0 to 1.

    Returns:
        Draws of the data, (n, ...).

    Raises:
        RequestError: an unknown sampler, eta out of range, or eta with another sampler.

    Reference:
        Song, Meng, Ermon, Denoising Diffusion Implicit Models, 2020. arXiv:2010.02502
    """
    choice("sampler", sampler, SAMPLERS)
    number("eta", eta, low=0, high=1)
    x = levels.sigma[0].to(noise) * noise
    if sampler not in ("ddpm", "ddim"):
        return _follow(denoise, x, path, levels, sampler)
    return _chain(denoise, x, levels, 1.0 if sampler == "ddpm" else eta)


def _chain(denoise: Denoise, x: Tensor, levels: Levels, eta: float) -> Tensor:
    rows = zip(levels.times.to(x).unbind(), levels.alpha.tolist(), levels.sigma.tolist(), strict=True)
    t, alpha, sigma = next(rows)
    for time, next_alpha, next_sigma in rows:
        guess, e = denoise(x, t)
        variance = next_sigma**2 - (alpha * next_sigma**2 / (next_alpha * sigma)) ** 2
        fresh = eta * max(variance, 0.0) ** 0.5
        kept = max(next_sigma**2 - fresh**2, 0.0) ** 0.5
        x = next_alpha * guess
        if kept:
            x = torch.add(x, e, alpha=kept)
        if fresh:
            x = torch.add(x, torch.randn_like(x), alpha=fresh)
        t, alpha, sigma = time, next_alpha, next_sigma
    return x


def _follow(denoise: Denoise, x: Tensor, path: Path, levels: Levels, solver: str) -> Tensor:
    by_ratio = path.by_ratio
    scale = levels.alpha if by_ratio else levels.alpha + levels.sigma

    def slope(y: Tensor, clock: Tensor) -> Tensor:
        precise = clock.double()
        t = path.time(precise if by_ratio else precise / (1 - precise)).clamp(0, 1)
        alpha, sigma = path.level(t)
        guess, e = denoise((alpha if by_ratio else alpha + sigma).to(y) * y, t.to(y))
        return e if by_ratio else e - guess

    return solve(slope, x / scale[0].to(x), levels.sigma / scale, solver=solver, open_end=True)
