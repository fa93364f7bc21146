"""`Domain`: where functions are defined, and the grid on which they were seen."""

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
    """A box, and the regular grid of points in it, if there is one. Models see it as the unit cube.

    Args:
        low: the lower end of each coordinate, in the units of the data.
        high: the upper end of each.
        grid: points along each coordinate of a regular grid; (P,) along the line where they lie in any way; () of
            scattered points.
        cells: whether points are the middles of equal cells, as pixels are; else a grid reaches from end to end.

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
        """How many coordinates a position has."""
        return len(self.low)

    def sides(self, factor: float = 1.0, points: int = 64) -> tuple[int, ...]:
        """Points along each coordinate of the grid, made finer by a factor; of scattered points about as many."""
        grid = self.grid or (max(2, round(points ** (1 / self.k))),) * self.k
        factor = number("resolution", factor, low=1e-3)
        return tuple(max(2, round(n * factor)) for n in grid)

    def points(self, sides: tuple[int, ...] | None = None) -> Tensor:
        """A regular grid in the unit cube, (prod sides, k), the last coordinate fastest."""
        axes = [self._axis(n) for n in (self.grid if sides is None else sides)]
        return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).flatten(0, -2)

    def _axis(self, n: int) -> Tensor:
        return (torch.arange(n) + 0.5) / n if self.cells else torch.linspace(0, 1, n)

    def quadrature(self, y: Tensor, mask: Tensor | None = None) -> Tensor:
        """Weights (..., P) for points of the unit cube (..., P, k): the trapezium rule on a line, else equal ones."""
        if self.k == 1 and not self.cells:
            return trapezium(y[..., 0], mask=mask)
        return equal(torch.ones(y.shape[:-1], dtype=torch.bool) if mask is None else mask)

    def inwards(self, positions: Tensor) -> Tensor:
        """From the units of the data to the unit cube, (..., k).

        Raises:
            RequestError: positions of another number of coordinates.
        """
        if positions.shape[-1] != self.k:
            raise refuse(
                "positions", f"{positions.shape[-1]} coordinates", f"{self.k}, as the data of the fit have"
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
        """A JSON-able form; `Domain.of` reads it back exactly."""
        return {"low": list(self.low), "high": list(self.high), "grid": list(self.grid), "cells": self.cells}

    @classmethod
    def of(cls, form: Domain | Mapping[str, Any]) -> Domain:
        """Read back what `describe` wrote.

        Raises:
            RequestError: it is not what `describe` writes.
        """
        if isinstance(form, Domain):
            return form
        try:
            low, high = (tuple(float(v) for v in form[end]) for end in ("low", "high"))
            domain = cls(low, high, tuple(int(n) for n in form["grid"]), bool(form["cells"]))
        except (KeyError, TypeError, ValueError) as error:
            raise RequestError(
                f"`domain` must be what a reader of fields wrote, but got {form!r}."
            ) from error
        if len(low) != len(high) or not all(
            math.isfinite(a) and a < b for a, b in zip(low, high, strict=True)
        ):
            raise RequestError(f"`domain` must have its lower ends below its upper ends, but got {form!r}.")
        return domain
