"""Regularised least squares for a layer in closed form, from statistics that can be added up over parts of the data."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor

from narrows.core.check import refuse

__all__ = ["ACTIVATIONS", "Activation", "Statistics", "activation", "leading", "merge", "solve", "statistics"]

_EDGE = 1e-6
"""Targets nearer than this to the bounds of an activation are moved away from them."""


class Activation(NamedTuple):
    """An activation with an inverse.

    Args:
        of: the function f.
        inverse: from values of f to where it has them.
        slope: f' at these places.
    """

    of: Callable[[Tensor], Tensor]
    inverse: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor], Tensor]


def _leaky(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 0.1 * x)


ACTIVATIONS: dict[str, Activation] = {
    "linear": Activation(lambda x: x, lambda y: y, torch.ones_like),
    "tanh": Activation(
        torch.tanh, lambda y: y.clamp(-1 + _EDGE, 1 - _EDGE).atanh(), lambda x: 1 - x.tanh().square()
    ),
    "logistic": Activation(
        torch.sigmoid,
        lambda y: y.clamp(_EDGE, 1 - _EDGE).logit(),
        lambda x: x.sigmoid() * (1 - x.sigmoid()),
    ),
    "leaky-relu": Activation(
        _leaky, lambda y: torch.where(y > 0, y, 10 * y), lambda x: torch.where(x > 0, 1.0, 0.1).to(x)
    ),
}
"""The activations that have an inverse."""


def activation(name: str) -> Activation:
    """An activation with an inverse.

    Raises:
        RequestError: there is none of this name, or it has no inverse.
    """
    if name not in ACTIVATIONS:
        fix = "A layer is solved for where its activation has its targets."
        raise refuse("activation", name, f"one that has an inverse: {', '.join(ACTIVATIONS)}", fix)
    return ACTIVATIONS[name]


class Statistics(NamedTuple):
    r"""What a layer is solved from, for each of its O outputs; parts of the data give statistics that are merged.

    Args:
        factor: R with :math:`R^T R = X^T F^2 X`, (O, M, M), or (1, M, M) if it is the same for all outputs. It is
            :math:`(U S)^T` of the singular value decomposition of :math:`X^T F`, but for a rotation.
        moment: :math:`X^T F^2 f^{-1}(d)`, (O, M).
    """

    factor: Tensor
    moment: Tensor


def statistics(x: Tensor, target: Tensor, of: Activation) -> Statistics:
    r"""The statistics of some examples.

    Errors are measured before the activation, weighted by its slope, so that to first order they are those after it:

    .. math:: \min_w \sum_i F_i^2 \big( w^T x_i - f^{-1}(d_i) \big)^2 + \lambda \|w\|^2,\qquad F_i = f'(f^{-1}(d_i))

    Args:
        x: inputs, (N, M).
        target: d, values of the activation, (N, O).
        of: the activation f.

    Reference:
        Fontenla-Romero et al., Regularized One-Layer Neural Networks for Distributed and Incremental Environments,
        2021.
    """
    before = of.inverse(target)
    slope = of.slope(before)
    moment = (slope.square() * before).T @ x
    shared = bool((slope == 1).all())
    weighted = x[None] if shared else slope.T[..., None] * x
    return Statistics(_triangle(weighted), moment)


def merge(parts: Iterable[Statistics]) -> Statistics:
    """The statistics of several parts of the data together.

    Example:
        >>> x, d = torch.randn(9, 2), torch.randn(9, 3)
        >>> linear = ACTIVATIONS["linear"]
        >>> both = merge([statistics(x[:4], d[:4], linear), statistics(x[4:], d[4:], linear)])
        >>> torch.allclose(solve(both, 0.1), solve(statistics(x, d, linear), 0.1), atol=1e-4)
        True
    """

    def two(a: Statistics, b: Statistics) -> Statistics:
        wide = max(len(a.factor), len(b.factor))
        rows = [one.factor.expand(wide, -1, -1) for one in (a, b)]
        return Statistics(_triangle(torch.cat(rows, 1)), a.moment + b.moment)

    return reduce(two, parts)


def solve(found: Statistics, ridge: float) -> Tensor:
    r"""The weights of a layer, (O, M).

    .. math:: w = V (S^2 + \lambda I)^{-1} V^T m,\qquad R = Q S V^T

    Directions in which the inputs do not vary, up to rounding in float32, have weight 0: without lambda it is the
    solution of least norm.

    Args:
        found: the statistics of all data.
        ridge: lambda.
    """
    _, values, axes = torch.linalg.svd(found.factor, full_matrices=False)
    least = torch.finfo(torch.float32).eps * values.shape[-1] * values[..., :1]
    inverse = torch.where(values > least, 1 / (values.square() + ridge), 0)
    return (axes.mT @ (inverse[..., None] * (axes @ found.moment[..., None]))).squeeze(-1)


def leading(found: Statistics, count: int) -> Tensor:
    """The leading right singular vectors of the examples, (count, M), each with its largest entry positive.

    Args:
        found: of examples, for any target with the linear activation.
        count: their number.
    """
    axes = torch.linalg.svd(found.factor[0], full_matrices=False).Vh[:count]
    largest = axes.gather(1, axes.abs().argmax(1, keepdim=True))
    return axes * largest.sign()


def _triangle(x: Tensor) -> Tensor:
    """R of the QR decomposition of (..., N, M), with M rows."""
    short = x.shape[-1] - x.shape[-2]
    if short > 0:
        x = torch.cat([x, x.new_zeros(*x.shape[:-2], short, x.shape[-1])], -2)
    return torch.linalg.qr(x, mode="r").R
