"""Hamiltonian Monte Carlo: chains in parallel, with the step size adapted to a rate of acceptance."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

__all__ = ["JITTER", "Chains", "State", "hmc", "leapfrog_steps", "propose"]

_DECAY = 0.6
"""The adaptation of the log step size decreases with this power of the number of transitions."""
JITTER = 0.2
"""The largest relative change of the step size of one transition, at random, so that no orbit is closed."""


class State(Protocol):
    """Chains at positions z (..., Z), with what was computed there."""

    @property
    def z(self) -> Tensor:
        """The positions."""
        ...


S = TypeVar("S", bound=State)


class Chains(NamedTuple):
    """The last states (n, Z) of n chains, the rate of acceptance after the adaptation, and the step size."""

    states: Tensor
    accepted: float
    step_size: float


def leapfrog_steps(
    at: Callable[[Tensor], S],
    slope: Callable[[S], Tensor],
    state: S,
    momentum: Tensor,
    step_size: Tensor | float,
    steps: int,
) -> tuple[S, Tensor]:
    r"""Leapfrog steps, which preserve volume and are undone by the same steps with the opposite momentum.

    .. math:: v_{1/2} = v + \tfrac{\epsilon}{2} \nabla \log p(z),\quad z' = z + \epsilon v_{1/2},\quad
              v' = v_{1/2} + \tfrac{\epsilon}{2} \nabla \log p(z')

    Args:
        at: the state at positions.
        slope: the gradient of log p at a state, like the positions.
        state: where the orbits begin.
        momentum: v, like the positions.
        step_size: epsilon, a number, or one that is broadcast to the positions.
        steps: their number.

    Returns:
        The state and the momentum at the end.

    Example:
        >>> from types import SimpleNamespace
        >>> point = lambda z: SimpleNamespace(z=z)
        >>> end, momentum = leapfrog_steps(point, lambda s: -s.z, point(torch.ones(1)), torch.zeros(1), 0.1, 31)
        >>> round(float(end.z), 2)  # half a turn of a harmonic oscillator
        -1.0
    """
    momentum = momentum + 0.5 * step_size * slope(state)
    for i in range(steps):
        state = at(state.z + step_size * momentum)
        momentum = momentum + (1.0 if i < steps - 1 else 0.5) * step_size * slope(state)
    return state, momentum


def propose(
    at: Callable[[Tensor], S],
    log_density: Callable[[S], Tensor],
    slope: Callable[[S], Tensor],
    state: S,
    step_size: Tensor | float,
    leapfrog: int,
) -> tuple[S, Tensor]:
    r"""Draw a momentum, and follow its orbit by leapfrog steps.

    .. math:: H(z, v) = -\log p(z) + \tfrac12 \|v\|^2,\quad v \sim N(0, I)

    Args:
        at: the state at positions.
        log_density: log p of a state up to a constant, of all axes of its positions but the trailing ones of a code.
        slope: the gradient of log p, like the positions.
        state: where the orbits begin.
        step_size: a number, or one that is broadcast to the positions.
        leapfrog: leapfrog steps.

    Returns:
        The end, and the logarithm H(z, v) - H(z', v') of the ratio with which it is accepted; NaN if it is not finite.
    """
    momentum, before = torch.randn_like(state.z), log_density(state)
    axes = before.dim()
    start = before - 0.5 * momentum.flatten(axes).square().sum(-1)
    end, momentum = leapfrog_steps(at, slope, state, momentum, step_size, leapfrog)
    return end, log_density(end) - 0.5 * momentum.flatten(axes).square().sum(-1) - start


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
    state, accepted, counted = _with_slope(log_density, states), 0.0, 0
    for step in range(steps):
        size = step_size * (1 + JITTER * (2 * float(torch.rand(())) - 1))
        end, gain = propose(
            lambda z: _with_slope(log_density, z),
            lambda point: point.value,
            lambda point: point.slope,
            state,
            size,
            leapfrog,
        )
        # A state that is not finite is rejected: comparisons with NaN are false.
        taken = torch.rand_like(gain).log() < gain
        z, slope = (
            torch.where(taken[:, None], new, old) for new, old in ((end.z, state.z), (end.slope, state.slope))
        )
        state = _Point(z, torch.where(taken, end.value, state.value), slope)
        rate = float(taken.double().mean())
        if target is not None and step < steps // 2:
            step_size *= math.exp((rate - target) / max(target, 1 - target) / (step + 1) ** _DECAY)
        else:
            accepted, counted = accepted + rate, counted + 1
    return Chains(state.z, accepted / max(1, counted), step_size)


class _Point(NamedTuple):
    z: Tensor
    value: Tensor
    slope: Tensor


def _with_slope(log_density: Callable[[Tensor], Tensor], z: Tensor) -> _Point:
    """log p and its gradient."""
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        value = log_density(z)
        (slope,) = torch.autograd.grad(value.sum(), z)
    return _Point(z.detach(), value.detach(), slope)
