"""Solvers of an ordinary differential equation with a fixed number of steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import TypeAlias

import torch
from torch import Tensor

__all__ = ["SOLVERS", "Velocity", "solve"]

Velocity: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""dx/dt at states (n, ...) and a time, a scalar tensor."""


def solve(
    velocity: Velocity, x: Tensor, steps: int, *, solver: str = "heun", start: float = 1.0, end: float = 0.0
) -> Tensor:
    r"""Follow dx/dt = v(x, t) from `start` to `end` in equal steps.

    .. math::
        \text{euler: } x + h\,v(x, t),\qquad
        \text{heun: } x + \tfrac h2 \big(v(x, t) + v(x + h\,v(x, t),\, t + h)\big)

    ``rk4`` is the classical method of Runge and Kutta. When the steps double, the error at the end falls to a half
    (euler), a quarter (heun) and a sixteenth (rk4), where v is smooth.

    Args:
        velocity: v, from states (n, ...) and a scalar time.
        x: states at `start`, (n, ...).
        steps: how many steps, T. Each evaluates v once (euler), twice (heun) or four times (rk4).
        solver: a name of `SOLVERS`.
        start: the first time.
        end: the last time.

    Returns:
        States at `end`, (n, ...).

    Example:
        >>> x = solve(lambda x, t: x, torch.ones(1, dtype=torch.float64), 100, solver="rk4", start=0.0, end=1.0)
        >>> round(float(x), 6)
        2.718282
    """
    step = SOLVERS[solver]
    times = torch.linspace(start, end, steps + 1, dtype=torch.float64).to(x)
    for t, later in pairwise(_scalars(times)):
        x = step(velocity, x, t, later)
    return x


def _scalars(times: Tensor) -> Iterator[Tensor]:
    return iter(times.unbind())


def _euler(v: Velocity, x: Tensor, t: Tensor, later: Tensor) -> Tensor:
    return x + (later - t) * v(x, t)


def _heun(v: Velocity, x: Tensor, t: Tensor, later: Tensor) -> Tensor:
    h = later - t
    slope = v(x, t)
    return x + 0.5 * h * (slope + v(x + h * slope, later))


def _rk4(v: Velocity, x: Tensor, t: Tensor, later: Tensor) -> Tensor:
    h, middle = later - t, (t + later) / 2
    a = v(x, t)
    b = v(x + 0.5 * h * a, middle)
    c = v(x + 0.5 * h * b, middle)
    d = v(x + h * c, later)
    return x + h / 6 * (a + 2 * b + 2 * c + d)


SOLVERS: Mapping[str, Callable[[Velocity, Tensor, Tensor, Tensor], Tensor]] = {
    "euler": _euler,
    "heun": _heun,
    "rk4": _rk4,
}
"""One step of each solver, from (v, x, t, t + h) to x at t + h."""
