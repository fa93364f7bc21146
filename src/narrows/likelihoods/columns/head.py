"""`Head`: p(x | z) of several columns of a table that are modelled alike."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from narrows.core import Spec

__all__ = ["Head", "column_mean"]


class Head(nn.Module):
    """p(x | z) of C columns of a table that are modelled alike, from the entries of the decoder's output for them.

    A subclass sets `title` and `width`, and is added to the table of its columns in `narrows.likelihoods.columns`. All
    columns are computed together. Shapes: P parameters (`width`), E statistics, C columns; leading axes
    ``(*samples, B)``.

    Args:
        columns: the specs of the columns, in order.
    """

    title: str
    """Its name in tables of columns."""

    transformed = False
    """Whether its nats are those of transformed cells, which are not comparable with others."""

    width: int
    """The number of parameters of all columns together, P."""

    def __init__(self, columns: Sequence[Spec]) -> None:
        super().__init__()
        self.columns = tuple(columns)

    def prepare(self, x: Tensor, observed: Tensor) -> Tensor:
        """Initialise from training data: the parameters (P,) of the columns by themselves.

        Args:
            x: cells (N, C), 0 where they are missing.
            observed: mask of the observed cells, (N, C).
        """
        raise NotImplementedError(f"{type(self).__name__} must define prepare")

    def nll(self, parameters: Tensor, x: Tensor) -> Tensor:
        """-log p of each cell, (..., C), in nats; a missing cell holds any finite number."""
        raise NotImplementedError(f"{type(self).__name__} must define nll")

    def expected(self, parameters: Tensor) -> Tensor:
        """Statistics (..., E) from which `estimate` is made; those of a mixture are the mean of its components'."""
        raise NotImplementedError(f"{type(self).__name__} must define expected")

    def estimate(self, expected: Tensor) -> Tensor:
        """Point estimates (..., C): means of numbers, probabilities of 1, most probable levels."""
        return expected

    def sample(self, parameters: Tensor) -> Tensor:
        """A draw of each cell, (..., C)."""
        raise NotImplementedError(f"{type(self).__name__} must define sample")

    @property
    def parameter_owner(self) -> tuple[int, ...]:
        """The column of each parameter, P indices."""
        columns = len(self.columns)
        return tuple(range(columns)) * (self.width // columns)

    @property
    def owner(self) -> tuple[int, ...]:
        """The column of each statistic, E indices."""
        return tuple(range(len(self.columns)))

    def statistics(self, x: Tensor) -> Tensor:
        """Cells (..., C) in the form of `expected`, (..., E): of cells that are certain."""
        return x

    @property
    def encoded_owner(self) -> tuple[int, ...]:
        """The column of each number of `encoded`."""
        return self.owner

    def encoded(self, x: Tensor) -> Tensor:
        """Cells (..., C) as an encoder reads them that shares the transformation of the head."""
        return self.statistics(x)

    def rsample(self, parameters: Tensor) -> Tensor:
        """A draw in the form of `expected`, (..., E), with a gradient.

        Where a draw has no derivative, the gradient is that of `expected` (straight-through), which is biased.
        """
        expected = self.expected(parameters)
        with torch.no_grad():
            away = self.statistics(self.sample(parameters)) - expected
        return expected + away


def column_mean(x: Tensor, observed: Tensor) -> Tensor:
    """The mean of the observed cells of each column, (C,); 0 for a column without any."""
    return torch.where(observed, x, 0).sum(0) / observed.sum(0).clamp_min(1)
