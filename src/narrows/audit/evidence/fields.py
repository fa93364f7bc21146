"""Fields as pictures: functions of one or two coordinates on the regular grid on which they are drawn."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from narrows.audit.evidence.view import View
from narrows.data.dataset import Dataset
from narrows.data.domain import Domain

__all__ = ["Grid", "domain_of", "grid_of"]


def domain_of(view: View) -> Domain | None:
    """The domain of the functions; None if the examples are not fields.

    Args:
        view: the evidence.
    """
    return view.dataset.domain if isinstance(view.dataset, Dataset) else None


@dataclass(frozen=True)
class Grid:
    """A regular grid in the unit cube of one or two coordinates.

    Args:
        sides: points along each coordinate.
        points: their positions, (Q, k).
    """

    sides: tuple[int, ...]
    points: Tensor

    def queries(self, n: int) -> Tensor:
        """The positions for n examples, (n, Q, k), as the condition ``queries`` of a decoder."""
        return self.points.expand(n, *self.points.shape)

    def shaped(self, values: Tensor) -> Tensor:
        """Values at the grid (n, Q, C): as curves (n, Q, C), or as images (n, C, H, W)."""
        return values if len(self.sides) == 1 else values.unflatten(1, self.sides).permute(0, 3, 1, 2)

    def nearest(self, values: Tensor, positions: Tensor, known: Tensor | None = None) -> Tensor:
        """Functions known at other points: at each point of the grid the value of the nearest of these.

        Args:
            values: (n, P, C).
            positions: (n, P, k).
            known: which points count, (n, P); all if None.
        """
        distance = torch.cdist(self.points.expand(len(values), -1, -1), positions.expand(len(values), -1, -1))
        if known is not None:
            distance = distance.masked_fill(~known[:, None], torch.inf)
        index = distance.argmin(2)[..., None].expand(-1, -1, values.shape[-1])
        return self.shaped(values.gather(1, index))


def grid_of(view: View) -> Grid | None:
    """The grid on which the functions are drawn, about as fine as the data; None if they are no curves or images.

    Args:
        view: the evidence.
    """
    domain, target = domain_of(view), view.batch.target
    if domain is None or domain.k > 2 or not isinstance(target, Tensor):
        return None
    sides = domain.sides(1.0, target.shape[1])
    return Grid(sides, domain.points(sides))
