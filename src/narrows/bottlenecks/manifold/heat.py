"""Heat kernels of the circle, the sphere and the rotations of space: the densities of Brownian motion."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

__all__ = ["circle", "rotations", "sphere"]

_NODES = 48
_REACH = 6.5
"""Quadrature ends where e^(-u^2) is below the precision of float64."""
_NEAR = 1e-4
"""The least distance to the point opposite to the first, where a root in the kernel of the sphere is 0."""


def circle(angle: Tensor, t: Tensor) -> Tensor:
    r"""log density on the unit circle after time t, at an angle from the start: the wrapped normal distribution.

    .. math:: k_t(\theta) = \sum_n N(\theta + 2 \pi n;\, 0,\, t)

    Example:
        >>> far = torch.tensor(math.pi, dtype=torch.float64)
        >>> circle(far, torch.tensor(50.0, dtype=torch.float64)).exp() * 2 * math.pi  # nearly uniform
        tensor(1.0000, dtype=torch.float64)
    """
    turns = 2 * math.pi * torch.arange(-8, 9, dtype=angle.dtype, device=angle.device)
    squares = (angle[..., None] + turns).square() / t[..., None]
    return torch.logsumexp(-0.5 * squares, -1) - 0.5 * (2 * math.pi * t).log()


def sphere(angle: Tensor, t: Tensor) -> Tensor:
    r"""log density on the unit sphere in R^3 after time t, at an angle from the start.

    .. math:: k_t(\theta) = \sum_l \frac{2l + 1}{4\pi} e^{-l(l+1)t/2} P_l(\cos\theta)
              = \frac{\sqrt{2}\, e^{t/8}}{(2\pi t)^{3/2}} \int_\theta^\pi \sum_n (-1)^n (\varphi + 2\pi n)
              \frac{e^{-(\varphi + 2\pi n)^2 / 2t}}{\sqrt{\cos\theta - \cos\varphi}}\, d\varphi

    The integral has no cancellation at small times, where the series needs many terms. It is computed by
    quadrature over :math:`u^2 = (\varphi^2 - \theta^2) / 2t`, for t up to about 2.
    """
    nodes, weights = (torch.from_numpy(x).to(angle) for x in np.polynomial.legendre.leggauss(_NODES))
    angle = angle.clamp(1e-9, math.pi - _NEAR)[..., None]
    t = t[..., None]
    reach = ((math.pi**2 - angle.square()) / (2 * t)).sqrt().clamp(max=_REACH)
    u = reach * (nodes + 1) / 2
    phi = (angle.square() + 2 * t * u.square()).sqrt().clamp(max=math.pi)
    turns = sum(
        (-1) ** n * (1 + 2 * math.pi * n / phi) * (-2 * math.pi * n * (math.pi * n + phi) / t).exp()
        for n in (-1, 0, 1)
    )
    # cos a - cos b = 2 sin((a + b) / 2) sin((b - a) / 2), without cancellation
    apart = t * u.square() / (angle + phi)
    root = (2 * (0.5 * (angle + phi)).sin() * apart.sin()).clamp_min(1e-300).sqrt()
    total = (weights * reach / 2 * u * (-u.square()).exp() * turns / root).sum(-1)
    angle, t = angle[..., 0], t[..., 0]
    scale = 0.5 * math.log(2) + t / 8 - 1.5 * (2 * math.pi * t).log() + (2 * t).log()
    return scale - angle.square() / (2 * t) + total.clamp_min(1e-300).log()


def rotations(angle: Tensor, t: Tensor) -> Tensor:
    r"""log density on SO(3) after time t, at a rotation by an angle from the start.

    SO(3) has the metric of matrices in R^9: half of a sphere in R^4 of radius :math:`\rho = 2 \sqrt{2}`, with

    .. math:: k_t = \frac{e^{\tau/2}}{\rho^3 (2\pi\tau)^{3/2}} \sum_n (-1)^n \frac{\psi + \pi n}{\sin\psi}
              e^{-(\psi + \pi n)^2 / 2\tau},\qquad \tau = t / \rho^2,\quad \psi = \mathrm{angle} / 2
    """
    tau, psi = t / 8, (angle / 2).clamp_min(1e-6)
    turns = torch.ones_like(psi)
    for n in (-2, -1, 1, 2):
        away = math.pi * n * (math.pi * n + 2 * psi) / (2 * tau)
        turns = turns + (-1) ** n * (1 + math.pi * n / psi) * (-away).exp()
    shape = psi.log() - psi.sin().log() - psi.square() / (2 * tau) + turns.log()
    return shape + tau / 2 - 1.5 * (2 * math.pi * tau).log() - 1.5 * math.log(8)
