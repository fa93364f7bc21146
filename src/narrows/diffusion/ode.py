"""Solvers of an ordinary differential equation with a fixed number of steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import TypeAlias

import torch
from torch import Tensor

__all__ = ["SOLVERS", "Velocity", "solve"]

Velocity: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""dx/dt at states (n, ...) and a time, a scalar tensor."""
_Before: TypeAlias = tuple[Tensor, Tensor] | None
"""The length of the step before, and the slope it began with."""
_Step: TypeAlias = Callable[[Velocity, Tensor, Tensor, Tensor, _Before], tuple[Tensor, Tensor]]


def solve(
    velocity: Velocity,
    x: Tensor,
    steps: int | Tensor,
    *,
    solver: str = "heun",
    start: float = 1.0,
    end: float = 0.0,
    open_end: bool = False,
) -> Tensor:
    r"""Follow dx/dt = v(x, t) from `start` to `end`.

    .. math::
        \text{euler: } x + h\,v(x, t),\qquad
        \text{heun: } x + \tfrac h2 \big(v(x, t) + v(x + h\,v(x, t),\, t + h)\big),\qquad
        \text{ab2: } x + h\,\big(\tfrac32 v(x, t) - \tfrac12 v_{-1}\big)

    ``ab2`` is the method of Adams and Bashforth, where v_{-1} is the velocity of the step before and the first step
    is Euler's; ``rk4`` is the classical method of Runge and Kutta. When the steps double, the error at the end falls
    to a half (euler), a quarter (heun, ab2) and a sixteenth (rk4), where v is smooth.

    Args:
        velocity: v, from states (n, ...) and a scalar time.
        x: states at `start`, (n, ...).
        steps: how many steps of equal length, S, or all times, (S + 1,), of which the first is `start`. Each step
            evaluates v once (euler, ab2), twice (heun) or four times (rk4).
        solver: a name of `SOLVERS`.
        start: the first time.
        end: the last time.
        open_end: v is not defined at the last time: the last step is Euler's.

    Returns:
        States at `end`, (n, ...).

    Example:
        >>> x = solve(lambda x, t: x, torch.ones(1, dtype=torch.float64), 100, solver="rk4", start=0.0, end=1.0)
        >>> round(float(x), 6)
        2.718282
    """
    times = torch.linspace(start, end, steps + 1, dtype=torch.float64) if isinstance(steps, int) else steps
    pairs, before = list(pairwise(times.to(x).unbind())), None
    for i, (t, later) in enumerate(pairs):
        step = SOLVERS[solver] if not open_end or i + 1 < len(pairs) or solver == "ab2" else _euler
        x, slope = step(velocity, x, t, later, before)
        before = (later - t, slope)
    return x


def _euler(v: Velocity, x: Tensor, t: Tensor, later: Tensor, before: _Before) -> tuple[Tensor, Tensor]:
    slope = v(x, t)
    return x + (later - t) * slope, slope


def _heun(v: Velocity, x: Tensor, t: Tensor, later: Tensor, before: _Before) -> tuple[Tensor, Tensor]:
    h = later - t
    slope = v(x, t)
    return x + 0.5 * h * (slope + v(x + h * slope, later)), slope


def _ab2(v: Velocity, x: Tensor, t: Tensor, later: Tensor, before: _Before) -> tuple[Tensor, Tensor]:
    h, slope = later - t, v(x, t)
    if before is None:
        return x + h * slope, slope
    length, old = before
    return x + h * (slope + 0.5 * h / length * (slope - old)), slope


def _rk4(v: Velocity, x: Tensor, t: Tensor, later: Tensor, before: _Before) -> tuple[Tensor, Tensor]:
    h, middle = later - t, (t + later) / 2
    a = v(x, t)
    b = v(x + 0.5 * h * a, middle)
    c = v(x + 0.5 * h * b, middle)
    d = v(x + h * c, later)
    return x + h / 6 * (a + 2 * b + 2 * c + d), a


SOLVERS: Mapping[str, _Step] = {"euler": _euler, "heun": _heun, "ab2": _ab2, "rk4": _rk4}
"""One step of each solver, from (v, x, t, t + h) to x at t + h and the first slope."""
