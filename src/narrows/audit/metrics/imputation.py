"""How far imputed cells lie from the true ones, and what a column's own mean would have done."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from narrows.core.columns import Columns

__all__ = ["ColumnMeans", "Errors", "imputation_errors"]


@dataclass(frozen=True)
class Errors:
    """The error of imputed cells, a column each; NaN where a column has no such cell.

    Args:
        rmse: root mean square error of each column of numbers, over the column's standard deviation.
        accuracy: share of right cells of each column of two values or categories.
    """

    rmse: Tensor
    accuracy: Tensor

    @property
    def mean_rmse(self) -> float:
        """The mean over the columns of numbers; NaN without one."""
        return float(self.rmse.nanmean())

    @property
    def mean_accuracy(self) -> float:
        """The mean over the columns of two values or categories; NaN without one."""
        return float(self.accuracy.nanmean())


@dataclass(frozen=True)
class ColumnMeans:
    """What is known of each column by itself: the simplest imputation, and a unit for errors.

    Args:
        cells: the mean of numbers, the most frequent value of the others, (D,).
        deviation: the standard deviation, (D,).
    """

    cells: Tensor
    deviation: Tensor

    @classmethod
    def of(cls, x: Tensor, observed: Tensor, columns: Columns) -> ColumnMeans:
        """From the cells (N, D) that are there.

        Example:
            >>> x = torch.tensor([[1.0, 2.0], [3.0, 2.0], [9.0, 0.0]])
            >>> seen = torch.tensor([[True, True], [True, True], [False, True]])
            >>> ColumnMeans.of(x, seen, Columns((0,), (), ((1, 3),))).cells.tolist()
            [2.0, 2.0]
        """
        x = torch.where(observed, x, 0).double()
        count = observed.sum(0).clamp_min(1)
        mean = x.sum(0) / count
        deviation = (torch.where(observed, x - mean, 0).square().sum(0) / count).sqrt()
        for place, classes in (*((p, 2) for p in columns.binary), *columns.categories):
            votes = torch.bincount(x[observed[:, place], place].long(), minlength=classes)
            mean[place] = votes.argmax()
        return cls(mean.float(), torch.where(deviation > 0, deviation, 1.0).float())


def imputation_errors(
    cells: Tensor, truth: Tensor, hidden: Tensor, columns: Columns, deviation: Tensor
) -> Errors:
    """The error on the cells that were hidden.

    Args:
        cells: imputed, (N, D).
        truth: the true cells, (N, D).
        hidden: which are asked for, (N, D).
        columns: what the columns are.
        deviation: of each column, (D,).
    """
    count = hidden.sum(0).double()
    square = torch.where(hidden, (cells - truth) / deviation, 0).double().square().sum(0)
    binary = list(columns.binary)
    guess = cells.clone()
    guess[:, binary] = (cells[:, binary] > 0.5).to(cells.dtype)
    right = (hidden & (guess == truth)).sum(0).double()
    others = [*binary, *(place for place, _ in columns.categories)]
    return Errors((square / count).sqrt()[list(columns.real)], (right / count)[others])
