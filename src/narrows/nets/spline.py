"""Sequences as B-splines: control points by regularised least squares, and curves of control points."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from narrows.core import NO_CONDITION, Condition
from narrows.core.check import at_least, refuse, whole

__all__ = ["Spline", "SplineDecoder", "SplineEncoder", "basis"]


def basis(times: Tensor, knots: Tensor, degree: int) -> Tensor:
    r"""The B-splines of a vector of knots at some times, by the recursion of Cox and de Boor.

    .. math:: B_{i,0}(t) = [u_i \le t < u_{i+1}],\qquad
              B_{i,p}(t) = \frac{t - u_i}{u_{i+p} - u_i} B_{i,p-1}(t)
                         + \frac{u_{i+p+1} - t}{u_{i+p+1} - u_{i+1}} B_{i+1,p-1}(t)

    The last interval includes its end. Fractions with a denominator of 0 are 0.

    Args:
        times: (T,), float64.
        knots: u, not decreasing, (N + p + 1,), float64.
        degree: p.

    Returns:
        (T, N).

    Example:
        >>> basis(torch.tensor([0.0, 0.25, 1.0]), torch.tensor([0.0, 0.0, 1.0, 1.0]), 1)
        tensor([[1.0000, 0.0000],
                [0.7500, 0.2500],
                [0.0000, 1.0000]])
    """
    t = times[:, None]
    last = knots[:-1].eq(knots[knots < knots[-1]].max()) & (knots[1:] > knots[:-1])
    found = ((knots[:-1] <= t) & (t < knots[1:])) | (last & t.eq(knots[-1]))
    values = found.to(times.dtype)
    for p in range(1, degree + 1):
        rise = _fraction(t - knots[: -p - 1], knots[p:-1] - knots[: -p - 1])
        fall = _fraction(knots[p + 1 :] - t, knots[p + 1 :] - knots[1:-p])
        values = rise * values[:, :-1] + fall * values[:, 1:]
    return values


def _fraction(above: Tensor, below: Tensor) -> Tensor:
    return torch.where(below > 0, above / below.where(below > 0, torch.ones_like(below)), 0)


class Spline:
    r"""The knots of a sequence that is divided into chunks, each a clamped B-spline that starts where the last ends.

    The steps are at times 0, ..., T - 1. Each of M chunks of equal duration has N control points, of which the first
    is the last one of the chunk before. Clamped splines pass through their first and last control point, so that the
    curve has no jump.

    Args:
        length: the number of steps, T.
        points: control points of a chunk, N.
        degree: of the polynomials, p.
        chunks: the number of chunks, M.

    Raises:
        RequestError: a sequence of one step, fewer control points than p + 1, or more chunks than intervals.

    Example:
        >>> Spline(9, points=5, degree=4, chunks=2).control_points
        9
    """

    def __init__(self, length: int, *, points: int, degree: int = 4, chunks: int = 1) -> None:
        self.length, self.degree = whole("length", length, low=2), whole("degree", degree)
        self.points = whole("points", points, low=self.degree + 1, fix="A spline has degree + 1 or more.")
        self.chunks = whole("chunks", chunks)
        if self.chunks > self.length - 1:
            raise refuse("chunks", chunks, f"at most {self.length - 1} for sequences of {self.length} steps")
        inside = self.points - self.degree
        ends = [torch.zeros(1)] * (self.degree + 1)
        for chunk in range(self.chunks):
            between = torch.linspace(chunk, chunk + 1, inside + 1, dtype=torch.float64)[1:]
            ends += [between, *[between[-1:]] * (self.degree - 1)]
        self.knots = torch.cat([end.double() for end in ends] + [ends[-1][-1:]]) * self.duration

    @property
    def duration(self) -> float:
        """Of a chunk, in steps."""
        return (self.length - 1) / self.chunks

    @property
    def control_points(self) -> int:
        """Of all chunks, those that two chunks share counted once."""
        return self.chunks * (self.points - 1) + 1

    def at(self, times: Tensor) -> Tensor:
        """The weights of the control points at some times from 0 to T - 1: (T',) -> (T', control points)."""
        return basis(times.double(), self.knots.to(times.device), self.degree)

    def solution(self, ridge: float) -> Tensor:
        r"""The matrix from the values of a sequence to its control points, (control points, T), in float64.

        .. math:: c = (B^\top B + \lambda I)^{-1} B^\top (a - b_0 c_0)

        chunk by chunk; c_0 is known from the chunk before, and unknown in the first chunk.
        """
        times = torch.arange(self.length, dtype=torch.float64)
        weights, chunk = self.at(times), (times / self.duration - 1e-9).floor().clamp_min(0).long()
        solved = torch.zeros(self.control_points, self.length, dtype=torch.float64)
        for number in range(self.chunks):
            rows = (chunk == number).nonzero().squeeze(1)
            first = number * (self.points - 1)
            unknown = slice(first + (number > 0), first + self.points)
            b = weights[rows, unknown]
            right = torch.eye(self.length, dtype=torch.float64)[rows]
            if number:
                right = right - weights[rows, first, None] * solved[first]
            matrix = b.T @ b + ridge * torch.eye(b.shape[1], dtype=torch.float64)
            solved[unknown] = torch.linalg.solve(matrix, b.T @ right)
        return solved


class SplineEncoder(nn.Module):
    """The control points of sequences, by regularised least squares; nothing is learned.

    Args:
        spline: the knots.
        shape: shape of a sequence, (T,) or (T, C).
        ridge: lambda, above 0.

    Raises:
        RequestError: a ridge that is not above 0.

    Example:
        >>> SplineEncoder(Spline(20, points=6), (20, 3))(torch.ones(2, 20, 3)).shape
        torch.Size([2, 18, 1])
    """

    matrix: Tensor

    def __init__(self, spline: Spline, shape: tuple[int, ...], ridge: float = 1e-4) -> None:
        super().__init__()
        self.axes = len(shape)
        solved = spline.solution(at_least("ridge", ridge, 1e-12))
        self.register_buffer("matrix", solved.to(torch.get_default_dtype()))

    def forward(self, x: Tensor, condition: Condition = NO_CONDITION) -> Tensor:
        """(B, *shape) -> (B, control points times C, 1), the channels of a control point one after the other."""
        columns = x if self.axes == 2 else x[..., None]
        return (self.matrix @ columns).flatten(1)[..., None]


class SplineDecoder(nn.Module):
    """The curve of control points at every step; nothing is learned.

    Args:
        spline: the knots.
        shape: shape of a sequence, (T,) or (T, C).

    Example:
        >>> bool((SplineDecoder(Spline(20, points=6), (20,))(torch.ones(2, 6, 1)) - 1).abs().max() < 1e-6)
        True
    """

    matrix: Tensor

    def __init__(self, spline: Spline, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.spline, self.shape = spline, shape
        weights = spline.at(torch.arange(spline.length))
        self.register_buffer("matrix", weights.to(torch.get_default_dtype()))

    def forward(self, z: Tensor, condition: Condition = NO_CONDITION) -> Tensor:
        """(*samples, B, control points times C, 1) -> (*samples, B, *shape)."""
        return self._curve(z, self.matrix).reshape(*z.shape[:-2], *self.shape)

    def at(self, z: Tensor, times: Tensor) -> Tensor:
        """The curve at any times from 0 to T - 1: (B, control points times C, 1) and (T',) -> (B, T', C)."""
        return self._curve(z, self.spline.at(times).to(z))

    def _curve(self, z: Tensor, weights: Tensor) -> Tensor:
        return weights @ z.squeeze(-1).unflatten(-1, (weights.shape[1], -1))
