"""Hamiltonian Monte Carlo: chains in parallel, with the step size adapted to a rate of acceptance."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Chains", "hmc"]

_DECAY = 0.6
"""The adaptation of the log step size decreases with this power of the number of transitions."""
_JITTER = 0.2
"""The largest relative change of the step size of one transition, at random, so that no orbit is closed."""


class Chains(NamedTuple):
    """The last states (n, Z) of n chains, the rate of acceptance after the adaptation, and the step size."""

    states: Tensor
    accepted: float
    step_size: float


def hmc(
    log_density: Callable[[Tensor], Tensor],
    states: Tensor,
    *,
    steps: int = 100,
    leapfrog: int = 10,
    step_size: float = 0.1,
    target: float | None = 0.65,
) -> Chains:
    r"""Draw from a density by Hamiltonian Monte Carlo with unit mass and Metropolis' test.

    .. math:: H(z, v) = -\log p(z) + \tfrac12 \|v\|^2,\quad v \sim N(0, I),\qquad
              \min(1, e^{H(z, v) - H(z', v')})

    Each of the steps draws a momentum, makes leapfrog steps, and accepts or rejects the end, compared as logarithms. In
    the first half of the steps the step size is changed so that the share of accepted ends is `target`; it is fixed
    afterwards, since adaptation would bias the draws.

    Args:
        log_density: log p of states, up to a constant, (n, Z) -> (n,).
        states: the first states, (n, Z).
        steps: number of transitions.
        leapfrog: leapfrog steps of a transition.
        step_size: the initial step size.
        target: the rate of acceptance; None for a fixed step size.

    Example:
        >>> from narrows.core import seeded
        >>> with seeded(0):
        ...     chains = hmc(lambda z: -0.5 * z.square().sum(1), torch.zeros(4000, 1))
        >>> round(float(chains.states.var()), 1)
        1.0

    Reference:
        Neal, MCMC Using Hamiltonian Dynamics, 2011. arXiv:1206.1901
    """
    energy, slope = _with_slope(log_density, states)
    accepted, counted = 0.0, 0
    for step in range(steps):
        size = step_size * (1 + _JITTER * (2 * float(torch.rand(())) - 1))
        momentum = torch.randn_like(states)
        start = energy - 0.5 * momentum.square().sum(1)
        z, rise, v = states, slope, momentum + 0.5 * size * slope
        end = energy
        for i in range(leapfrog):
            z = z + size * v
            end, rise = _with_slope(log_density, z)
            v = v + (1.0 if i < leapfrog - 1 else 0.5) * size * rise
        gain = end - 0.5 * v.square().sum(1) - start
        # A state that is not finite is rejected: comparisons with NaN are false.
        taken = torch.rand_like(gain).log() < gain
        states = torch.where(taken[:, None], z, states)
        slope = torch.where(taken[:, None], rise, slope)
        energy = torch.where(taken, end, energy)
        rate = float(taken.double().mean())
        if target is not None and step < steps // 2:
            step_size *= math.exp((rate - target) / max(target, 1 - target) / (step + 1) ** _DECAY)
        else:
            accepted, counted = accepted + rate, counted + 1
    return Chains(states, accepted / max(1, counted), step_size)


def _with_slope(log_density: Callable[[Tensor], Tensor], z: Tensor) -> tuple[Tensor, Tensor]:
    """log p and its gradient."""
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        value = log_density(z)
        (slope,) = torch.autograd.grad(value.sum(), z)
    return value.detach(), slope
