"""`Domain`: the domain of functions, and the grid on which they were observed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from narrows.core.check import RequestError, number, refuse
from narrows.kernels.quadrature import equal, trapezium

__all__ = ["Domain"]


@dataclass(frozen=True)
class Domain:
    """A box, and the regular grid of points in it, if there is one. Models use coordinates in the unit cube.

    Args:
        low: lower bound of each coordinate, in the units of the data.
        high: upper bound of each coordinate.
        grid: number of points along each coordinate of a regular grid; (P,) for P points at any positions on a
            line; () for scattered points.
        cells: whether points are the centres of equal cells, as pixels are; else a grid includes the bounds.

    Example:
        >>> Domain((0.0,), (2.0,), (3,)).points()
        tensor([[0.0000],
                [0.5000],
                [1.0000]])
        >>> Domain((0.0,), (2.0,), (2,), cells=True).points()
        tensor([[0.2500],
                [0.7500]])
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    grid: tuple[int, ...] = ()
    cells: bool = False

    @property
    def k(self) -> int:
        """The number of coordinates of a position."""
        return len(self.low)

    def sides(self, factor: float = 1.0, points: int = 64) -> tuple[int, ...]:
        """Points along each coordinate of the grid, refined by a factor; for scattered points about as many."""
        grid = self.grid or (max(2, round(points ** (1 / self.k))),) * self.k
        factor = number("resolution", factor, low=1e-3)
        return tuple(max(2, round(n * factor)) for n in grid)

    def points(self, sides: tuple[int, ...] | None = None) -> Tensor:
        """A regular grid in the unit cube, (prod sides, k), in C order."""
        axes = [self._axis(n) for n in (self.grid if sides is None else sides)]
        return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).flatten(0, -2)

    def _axis(self, n: int) -> Tensor:
        return (torch.arange(n) + 0.5) / n if self.cells else torch.linspace(0, 1, n)

    def quadrature(self, y: Tensor, mask: Tensor | None = None) -> Tensor:
        """Quadrature weights (..., P) of points (..., P, k): the trapezium rule on a line, else equal weights."""
        if self.k == 1 and not self.cells:
            return trapezium(y[..., 0], mask=mask)
        return equal(torch.ones(y.shape[:-1], dtype=torch.bool) if mask is None else mask)

    def inwards(self, positions: Tensor) -> Tensor:
        """From the units of the data to the unit cube, (..., k).

        Raises:
            RequestError: positions with another number of coordinates.
        """
        if positions.shape[-1] != self.k:
            raise refuse(
                "positions", f"{positions.shape[-1]} coordinates", f"{self.k}, as the training data have"
            )
        low, high = self._ends()
        return ((positions.to(torch.float64) - low) / (high - low)).to(torch.float32)

    def outwards(self, y: Tensor) -> Tensor:
        """From the unit cube to the units of the data, (..., k)."""
        low, high = self._ends()
        return (y.to(torch.float64) * (high - low) + low).to(torch.float32)

    def _ends(self) -> tuple[Tensor, Tensor]:
        low, high = torch.tensor([self.low, self.high], dtype=torch.float64)
        return low, high

    def describe(self) -> dict[str, Any]:
        """A JSON-serialisable form; `Domain.of` restores it exactly."""
        return {"low": list(self.low), "high": list(self.high), "grid": list(self.grid), "cells": self.cells}

    @classmethod
    def of(cls, form: Domain | Mapping[str, Any]) -> Domain:
        """Restore a domain from the output of `describe`.

        Raises:
            RequestError: it is not an output of `describe`.
        """
        if isinstance(form, Domain):
            return form
        try:
            low, high = (tuple(float(v) for v in form[end]) for end in ("low", "high"))
            domain = cls(low, high, tuple(int(n) for n in form["grid"]), bool(form["cells"]))
        except (KeyError, TypeError, ValueError) as error:
            raise RequestError(
                f"`domain` must be the output of `Domain.describe`, but got {form!r}."
            ) from error
        if len(low) != len(high) or not all(
            math.isfinite(a) and a < b for a, b in zip(low, high, strict=True)
        ):
            raise RequestError(f"`domain` must have lower bounds below the upper bounds, but got {form!r}.")
        return domain
