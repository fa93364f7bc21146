"""Schedules of weights and learning rates.

A schedule is a number, a text such as ``"linear:0:1:1000"`` (as in recipes and on the command line), or a
callable from the step to a float.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

from narrows.core.check import number, refuse

__all__ = [
    "Schedule",
    "at",
    "constant",
    "constant_from",
    "cosine",
    "cyclic",
    "linear",
    "schedule",
    "sigmoid",
    "steps",
]

Schedule: TypeAlias = float | str | Callable[[int], float]


def constant(value: float) -> Callable[[int], float]:
    """The same value at every step."""
    return lambda step: value


def linear(start: float, end: float, over: float) -> Callable[[int], float]:
    """From `start` to `end` in a straight line over `over` steps, then `end`.

    Example:
        >>> linear(0, 1, 10)(5)
        0.5
    """
    return lambda step: start + (end - start) * min(1.0, step / over)


def cosine(start: float, end: float, over: float, warmup: float = 0) -> Callable[[int], float]:
    """Half a cosine from `start` to `end` over `over` steps, after a linear warm-up of `warmup` steps.

    Example:
        >>> round(cosine(1, 0, 10)(5), 6)
        0.5
    """

    def value(step: int) -> float:
        if step < warmup:
            return start * (step + 1) / warmup
        done = min(1.0, (step - warmup) / max(1.0, over - warmup))
        return end + (start - end) * 0.5 * (1 + math.cos(math.pi * done))

    return value


def cyclic(low: float, high: float, period: float, rise: float = 0.5) -> Callable[[int], float]:
    """Cyclical annealing (Fu et al. 2019): rise linearly for a fraction of each period, then stay constant.

    Example:
        >>> [cyclic(0, 1, 10)(s) for s in (0, 5, 9, 10)]
        [0.0, 1.0, 1.0, 0.0]
    """
    return lambda step: low + (high - low) * min(1.0, (step % period) / (rise * period))


def sigmoid(start: float, end: float, middle: float, width: float) -> Callable[[int], float]:
    """A logistic curve from `start` to `end`, centred at step `middle`, constant ten widths from it.

    Example:
        >>> [round(sigmoid(0, 1, 1000, 100)(s), 3) for s in (0, 900, 1000, 1100, 2000)]
        [0, 0.269, 0.5, 0.731, 1]
    """

    def value(step: int) -> float:
        along = (step - middle) / width
        if abs(along) >= 10:
            return end if along > 0 else start
        return start + (end - start) / (1 + math.exp(-along))

    return value


def steps(*pairs: float) -> Callable[[int], float]:
    """Piecewise constant: ``steps(v0, s1, v1, s2, v2)`` is v0, from step s1 on v1, from s2 on v2.

    Example:
        >>> [steps(1, 10, 0.1)(s) for s in (0, 9, 10)]
        [1, 1, 0.1]
    """
    if len(pairs) % 2 == 0:
        raise refuse("steps", pairs, "a value, then pairs of step and value: an odd count of numbers")

    def value(step: int) -> float:
        now = pairs[0]
        for start, then in zip(pairs[1::2], pairs[2::2], strict=True):
            if step >= start:
                now = then
        return now

    return value


_KINDS: dict[str, Callable[..., Callable[[int], float]]] = {
    "constant": constant,
    "linear": linear,
    "cosine": cosine,
    "cyclic": cyclic,
    "sigmoid": sigmoid,
    "steps": steps,
}


def schedule(value: Schedule, argument: str = "schedule") -> float | Callable[[int], float]:
    """Parse a schedule: return a number or a callable.

    Raises:
        RequestError: a text is neither a number nor a known schedule.

    Example:
        >>> schedule("linear:0:1:1000")(250)
        0.25
        >>> schedule("0.5")
        0.5
    """
    if not isinstance(value, str):
        return value if callable(value) else number(argument, value)
    kind, *numbers = value.split(":")
    try:
        if kind in _KINDS:
            made = _KINDS[kind](*(number(argument, float(n)) for n in numbers))
            made(0)
            return made
        if not numbers:
            return number(argument, float(kind))
    except (TypeError, ValueError, ZeroDivisionError):  # a number that is not finite, too
        pass
    expected = "a finite number or a schedule such as 'linear:0:1:1000' (from, to, over how many steps)"
    raise refuse(argument, value, expected, f"Kinds: {', '.join(_KINDS)}.")


def at(value: float | Callable[[int], float], step: int) -> float:
    """The value of a schedule at a step."""
    return value(step) if callable(value) else value


def constant_from(value: float | Callable[[int], float], step: int) -> bool:
    """Whether a schedule is constant from a step on, checked at some later steps.

    Example:
        >>> constant_from(linear(0, 1, 10), 9), constant_from(linear(0, 1, 10), 10), constant_from(cyclic(0, 1, 8), 9)
        (False, True, False)
    """
    later = (step + 1, 2 * step + 1, 10**6 + step, 10**9)
    return all(at(value, n) == at(value, step) for n in later)
