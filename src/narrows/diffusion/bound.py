"""The variational bound of a diffusion model in continuous time, in nats."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from narrows.diffusion.paths import Level, Path
from narrows.diffusion.predictions import Denoised, gaussian

__all__ = ["bound"]

_Denoise: TypeAlias = Callable[[Tensor, Tensor], Denoised]


def bound(denoise: _Denoise, x: Tensor, path: Path, points: int = 64) -> Tensor:
    r"""An estimate of an upper bound of -log p(x), in nats, (n,).

    .. math::
        -\log p(x) \le -\log N(x; 0, I) + \frac12 \int
            E_\epsilon\left[\|\epsilon - \hat\epsilon(x_t)\|^2 - \|\epsilon - \epsilon_N(x_t)\|^2\right] d\lambda,
        \qquad \lambda = \log \frac{\alpha^2}{\sigma^2}

    The bound depends on the signal-to-noise ratio alone, not on the path. e_N is the noise that would be expected if
    data were N(0, I), for which the bound is exact; what is estimated is only how the net differs from it. Beyond the
    times of `Path.span` the model is that Gaussian. Each row gets the middles of `points` equal intervals of lambda,
    all moved by the same random amount, and noise of its own at each.

    Args:
        denoise: data and noise of states (n, ...) at times (n,).
        x: data, of mean 0 and variance 1 or near it, (n, ...).
        path: the path that the net was trained on.
        points: the number of levels of noise, each an evaluation of the net.

    Reference:
        Kingma, Salimans, Poole, Ho, Variational Diffusion Models, 2021. arXiv:2107.00630
    """
    ends = torch.tensor(path.span, dtype=torch.double)
    level = path.level(ends)
    high, low = (2 * (level.alpha / level.sigma).log()).tolist()
    width = (high - low) / points
    total = torch.zeros(len(x), dtype=torch.double, device=x.device)
    moved = float(torch.rand(()))
    for i in range(points):
        # one logarithm of the signal-to-noise ratio for all rows, so that they are compared at the same noise
        ratio = torch.tensor(math.exp(-(low + (i + moved) * width) / 2), dtype=torch.double)
        t = path.time(ratio)
        here = Level(*(value.to(x) for value in path.level(t)))
        e = torch.randn_like(x)
        state = here.alpha * x + here.sigma * e
        found = denoise(state, t.to(x).expand(len(x))).e
        plain = gaussian(state, here).e
        total += ((e - found).square() - (e - plain).square()).flatten(1).sum(1).double()
    normal = 0.5 * (x.square() + math.log(2 * math.pi)).flatten(1).sum(1)
    return normal + (0.5 * width * total).to(x)
