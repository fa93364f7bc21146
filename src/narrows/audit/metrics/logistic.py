"""Logistic regression for many problems and penalties at once."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["STRENGTHS", "Reduced", "fit", "objective", "reduced"]

STRENGTHS = tuple(10 ** (5 - 10 * i / 9) for i in range(10))
"""Inverse penalties C from 1e5 to 1e-5."""

TOLERANCE = 1e-4
"""Largest element of the gradient of the mean loss at which a fit is finished, as in scikit-learn."""

_TOGETHER = 1 << 17
"""Elements of a problem up to which problems are solved together; larger ones are faster alone, in the cache."""

_STEPS, _MEMORY, _SEARCH, _FLAT, _ROTATED = 400, 10, 12, 0.3, 512


class Reduced(NamedTuple):
    """Examples in coordinates in which a fit is fast: rotated, and not more of them than examples.

    A penalty on the length of the weights is the same in rotated coordinates, and the weights have no part that is
    orthogonal to all examples.

    Args:
        x: the examples, (P, B, R).
        scale: the length of each coordinate, (P, R).
        axes: of few features, the rotation, (P, D, R).
        original: of more features than examples, the examples themselves, (P, B, D).
    """

    x: Tensor
    scale: Tensor
    axes: Tensor | None = None
    original: Tensor | None = None

    def weights(self, found: Tensor) -> Tensor:
        """The weights of the features, (P, D, C), from those of the coordinates, (P, R, C)."""
        if self.axes is not None:
            return self.axes @ found
        if self.original is None:
            return found
        return self.original.mT @ torch.linalg.solve_triangular(self.x.mT, found, upper=True)


def reduced(x: Tensor) -> Reduced:
    """Rotate examples to at most as many coordinates as there are examples.

    Up to 512 features are rotated to their principal axes, in which the curvature of the loss is nearly diagonal. If
    there are more features than examples, the coordinates are the Cholesky factor of the inner products.

    Args:
        x: (P, B, D).
    """
    if x.shape[2] <= min(_ROTATED, x.shape[1]):
        values, axes = torch.linalg.eigh((x.mT @ x).double())
        axes = axes.to(x.dtype)
        return Reduced(x @ axes, values.clamp_min(0).sqrt().to(x.dtype), axes=axes)
    if x.shape[2] <= x.shape[1]:
        return Reduced(x, x.square().sum(1).sqrt())
    inner = x.new_empty(len(x), x.shape[1], x.shape[1])
    for some in torch.arange(x.shape[1]).tensor_split(
        8
    ):  # the Cholesky factor reads the lower triangle alone
        first, last = int(some[0]), int(some[-1]) + 1
        inner[:, first:last, :last] = x[:, first:last] @ x[:, :last].mT
    level = inner.diagonal(dim1=1, dim2=2).mean(1).clamp_min(1e-12)
    inner.diagonal(dim1=1, dim2=2).add_(1e-5 * level[:, None])
    factor = torch.linalg.cholesky(inner)
    return Reduced(factor, level.sqrt()[:, None].expand(-1, x.shape[1]), original=x)


def objective(
    x: Tensor, y: Tensor, strengths: Tensor, weights: Tensor, bias: Tensor, counts: Tensor | None = None
) -> Tensor:
    r"""The penalised mean loss, (P, C).

    .. math:: L = \frac1B \sum_i \log(1 + e^{-s_i (w \cdot x_i + b)}) + \frac{\|w\|^2}{2 C B},
        \quad s_i = 2 y_i - 1

    Args:
        x: examples, (P, B, D).
        y: labels 0 or 1, (P, B).
        strengths: C, (C,) or (P, C).
        weights: w, (P, D, C).
        bias: b, (P, C).
        counts: 1 for examples that count and 0 for others, (P, B); all count if None.
    """
    counts = torch.ones_like(x[..., 0]) if counts is None else counts
    margin = torch.baddbmm(bias[:, None], x, weights)
    sign = 2 * y[..., None].to(x.dtype) - 1
    total = counts.sum(1, keepdim=True)
    penalty = weights.square().sum(1) / (2 * strengths * total)
    return (F.softplus(-sign * margin) * counts[..., None]).sum(1) / total + penalty


@torch.no_grad()
def fit(
    x: Tensor,
    y: Tensor,
    strengths: Tensor | tuple[float, ...] = STRENGTHS,
    counts: Tensor | None = None,
    scale: Tensor | None = None,
    start: Tensor | None = None,
) -> Tensor:
    r"""Minimise `objective` for P problems and C penalties by L-BFGS: the weights, and in the last row the biases.

    Each problem and penalty has its own step sizes and memory; products with the examples are shared, two per step.

    Args:
        x: examples, (P, B, D), standardised.
        y: labels 0 or 1, (P, B), both present among those that count.
        strengths: inverse penalties, scikit-learn's `C`, (C,) or (P, C).
        counts: as for `objective`.
        scale: the length of each column of x, (P, D), if the columns are orthogonal or nearly so.
        start: the result to begin with, (P, D + 1, C); zeros if None.

    Returns:
        (P, D + 1, C).

    Example:
        >>> x = torch.tensor([[[-1.0], [0.0], [1.0], [2.0]]])
        >>> found = fit(x, torch.tensor([[0, 1, 0, 1]]), (1.0,))[0, :, 0]
        >>> [round(float(v), 2) for v in found]
        [0.45, -0.23]
    """
    strength = torch.as_tensor(strengths, dtype=x.dtype).expand(len(x), -1)
    counts = torch.ones_like(x[..., 0]) if counts is None else counts.to(x.dtype)
    share = (counts / counts.sum(1, keepdim=True))[..., None]
    penalty = (1 / (strength * counts.sum(1, keepdim=True)))[:, None]
    ridge = torch.cat([penalty.expand(-1, x.shape[2], -1), torch.zeros_like(penalty)], 1)
    if scale is None:
        scale = x.square().sum(1).sqrt()
    bend = torch.cat(
        [scale.square() / counts.sum(1, keepdim=True), torch.ones_like(scale[:, :1])], 1
    ).clamp_min(1e-6)
    problem = _Problem(x, y.to(x.dtype)[..., None], share, ridge, 1 / (0.25 * bend[..., None] + ridge))
    found = torch.zeros_like(ridge) if start is None else start.clone()
    if x[0].numel() <= _TOGETHER:
        return _minimised(problem, found, [], _STEPS)
    alone = (_Problem(*(t[at : at + 1] for t in problem)) for at in range(len(x)))
    return torch.cat([_minimised(one, found[at : at + 1], [], _STEPS) for at, one in enumerate(alone)])


class _Problem(NamedTuple):
    """Examples, labels, shares in the mean, penalties, and the guess of 1 / curvature."""

    x: Tensor
    y: Tensor
    share: Tensor
    ridge: Tensor
    inverse: Tensor

    def only(self, penalties: Tensor) -> _Problem:
        """Some of the penalties, (C,) bool."""
        return self._replace(ridge=self.ridge[..., penalties], inverse=self.inverse[..., penalties])

    def margins(self, found: Tensor) -> Tensor:
        """The inner products with the examples, and the bias, (P, B, C)."""
        return torch.baddbmm(found[:, -1:], self.x, found[:, :-1])

    def gradient(self, margin: Tensor, found: Tensor) -> Tensor:
        """Of the objective, (P, D + 1, C)."""
        residual = (margin.sigmoid() - self.y) * self.share
        slope = (
            residual.mT.contiguous() @ self.x
        ).mT  # faster than x.mT @ residual, which reads x by columns
        return torch.cat([slope, residual.sum(1, keepdim=True)], 1) + self.ridge * found


_Memory = list[tuple[Tensor, Tensor, Tensor]]
"""Of the last steps: the step, the change of the gradient, and 1 / their inner product."""


def _minimised(problem: _Problem, found: Tensor, memory: _Memory, steps: int) -> Tensor:
    """Take steps until all is finished; penalties that are finished are dropped once they are half of all."""
    margin = problem.margins(found)
    gradient = problem.gradient(margin, found)
    for taken in range(steps):
        open_ = gradient.abs().amax(1) > TOLERANCE
        rest = open_.any(0)
        if not bool(rest.any()):
            break
        if 2 * int(rest.sum()) <= len(rest):
            some = [(moved[..., rest], change[..., rest], rho[..., rest]) for moved, change, rho in memory]
            found = found.clone()
            found[..., rest] = _minimised(problem.only(rest), found[..., rest], some, steps - taken)
            break
        step = _direction(problem, gradient, memory)
        along = problem.margins(step)
        size = _search(problem, margin, along, found, step, open_)
        moved = size[:, None] * step
        found, margin = found + moved, margin + size[:, None] * along
        before, gradient = gradient, problem.gradient(margin, found)
        change = gradient - before
        curvature = (moved * change).sum(1)
        rho = torch.where(curvature > 1e-14, 1 / curvature.clamp_min(1e-14), torch.zeros_like(curvature))
        memory = [*memory[1 - _MEMORY :], (moved, change, rho)]
    return found


def _direction(problem: _Problem, gradient: Tensor, memory: _Memory) -> Tensor:
    """The two-loop recursion; a pair without curvature (rho 0) is skipped."""
    q, scales = gradient, []
    for moved, change, rho in reversed(memory):
        scale = rho * (moved * q).sum(1)
        q = q - scale[:, None] * change
        scales.append(scale)
    q = q * problem.inverse
    if memory:
        moved, change, rho = memory[-1]
        gamma = 1 / (rho * (change.square() * problem.inverse).sum(1)).clamp_min(1e-12)
        q *= torch.where(rho > 0, gamma, torch.ones_like(gamma))[:, None]
    for (moved, change, rho), scale in zip(memory, reversed(scales), strict=True):
        q += (scale - rho * (change * q).sum(1))[:, None] * moved
    return -q


def _search(
    problem: _Problem, margin: Tensor, along: Tensor, found: Tensor, step: Tensor, open_: Tensor
) -> Tensor:
    """The step size at which the objective along a direction is flat enough, (P, C); 0 where a fit is finished.

    The objective is convex in the size, and its derivatives need only the margins. Newton's method within a bracket.
    """
    slope, bend = (problem.ridge * found * step).sum(1), (problem.ridge * step.square()).sum(1)
    weighted = along * problem.share
    steep = (((margin.sigmoid() - problem.y) * weighted).sum(1) + slope).abs()
    low, high = torch.zeros_like(slope), torch.full_like(slope, torch.inf)
    size = torch.ones_like(slope)
    for _ in range(_SEARCH):
        p = (margin + size[:, None] * along).sigmoid()
        first = ((p - problem.y) * weighted).sum(1) + slope + size * bend
        if bool((first.abs() <= _FLAT * steep)[open_].all()):
            break
        second = (p * (1 - p) * along * weighted).sum(1) + bend
        low, high = torch.where(first < 0, size, low), torch.where(first > 0, size, high)
        wanted = size - first / second.clamp_min(1e-20)
        middle = torch.where(high.isfinite(), (low + high) / 2, 4 * size)
        inside = (wanted > low) & (wanted < torch.minimum(high, 4 * size.clamp_min(1e-3)))
        size = torch.where(inside, wanted, middle)
    return size * open_
