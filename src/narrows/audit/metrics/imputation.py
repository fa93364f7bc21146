"""Errors of imputed cells, and imputation by column means as the baseline."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from narrows.core.columns import Columns

__all__ = ["ColumnMeans", "Errors", "imputation_errors"]


@dataclass(frozen=True)
class Errors:
    """The errors of imputed cells by column; NaN if a column has no such cell.

    Args:
        rmse: root mean square error of each column of numbers, over the column's standard deviation.
        accuracy: share of correct cells of each column of two values or levels.
        displacement: mean distance between the imputed and the true level, over the number of levels, of each ordinal
            column.

    Reference:
        Nazabal et al., Handling Incomplete Heterogeneous Data using VAEs, 2020. arXiv:1807.03653
    """

    rmse: Tensor
    accuracy: Tensor
    displacement: Tensor

    @property
    def mean_rmse(self) -> float:
        """The mean over the columns of numbers; NaN if there is none."""
        return float(self.rmse.nanmean())

    @property
    def mean_accuracy(self) -> float:
        """The mean over the columns of two values or categories; NaN if there is none."""
        return float(self.accuracy.nanmean())

    @property
    def mean_displacement(self) -> float:
        """The mean over the ordinal columns; NaN if there is none."""
        return float(self.displacement.nanmean())


@dataclass(frozen=True)
class ColumnMeans:
    """The mean or mode of each column, the baseline imputation, and its standard deviation, the unit of errors.

    Args:
        cells: the mean of numbers, the most frequent value of other columns, (D,).
        deviation: the standard deviation, (D,).
    """

    cells: Tensor
    deviation: Tensor

    @classmethod
    def of(cls, x: Tensor, observed: Tensor, columns: Columns) -> ColumnMeans:
        """From the observed cells of x, (N, D).

        Example:
            >>> x = torch.tensor([[1.0, 2.0], [3.0, 2.0], [9.0, 0.0]])
            >>> observed = torch.tensor([[True, True], [True, True], [False, True]])
            >>> ColumnMeans.of(x, observed, Columns((0,), (), ((1, 3),))).cells.tolist()
            [2.0, 2.0]
        """
        x = torch.where(observed, x, 0).double()
        count = observed.sum(0).clamp_min(1)
        mean = x.sum(0) / count
        deviation = (torch.where(observed, x - mean, 0).square().sum(0) / count).sqrt()
        for column, classes in (*((p, 2) for p in columns.binary), *columns.categories):
            votes = torch.bincount(x[observed[:, column], column].long(), minlength=classes)
            mean[column] = votes.argmax()
        return cls(mean.float(), torch.where(deviation > 0, deviation, 1.0).float())


def imputation_errors(
    cells: Tensor, truth: Tensor, hidden: Tensor, columns: Columns, deviation: Tensor
) -> Errors:
    """The errors on the hidden cells.

    Args:
        cells: imputed cells, (N, D).
        truth: the true cells, (N, D).
        hidden: which cells are compared, (N, D).
        columns: the types of the columns.
        deviation: the standard deviation of each column, (D,).
    """
    count = hidden.sum(0).double()
    away = torch.where(hidden, cells - truth, 0).double()
    square = (away / deviation).square().sum(0)
    binary = list(columns.binary)
    guess = cells.clone()
    guess[:, binary] = (cells[:, binary] > 0.5).to(cells.dtype)
    right = (hidden & (guess == truth)).sum(0).double()
    others = [*binary, *(column for column, _ in columns.categories)]
    levels = dict(columns.categories)
    each = torch.tensor([levels[column] for column in columns.ordered], dtype=torch.double)
    displacement = (away.abs().sum(0) / count)[list(columns.ordered)] / each
    return Errors((square / count).sqrt()[list(columns.real)], (right / count)[others], displacement)
