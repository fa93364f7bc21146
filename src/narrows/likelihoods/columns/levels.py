"""Columns of two values, of categories and of ordered levels."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import torch
import torch.nn.functional as F
from torch import Tensor

from narrows.core import Spec
from narrows.likelihoods.columns.head import Head, column_mean
from narrows.likelihoods.columns.logistic import log_interval

__all__ = ["BernoulliHead", "CategoricalHead", "OrdinalHead"]

_FAR = 1e4
"""Beyond all thresholds."""


class BernoulliHead(Head):
    """Columns of 0 and 1, from the logit of 1.

    Args:
        columns: the specs of the columns.

    Example:
        >>> BernoulliHead([Spec((), "binary")]).nll(torch.zeros(1), torch.ones(1, 1))
        tensor([[0.6931]])
    """

    title = "Bernoulli"

    def __init__(self, columns: Sequence[Spec]) -> None:
        super().__init__(columns)
        self.width = len(self.columns)

    def prepare(self, x: Tensor, observed: Tensor) -> Tensor:
        """The logit of the share of ones; half a row of each value is added."""
        count = observed.sum(0)
        return ((column_mean(x, observed) * count + 0.5) / (count + 1)).logit()

    def nll(self, parameters: Tensor, x: Tensor) -> Tensor:
        """-log p of each cell, (..., C)."""
        return F.softplus(parameters) - x * parameters

    def expected(self, parameters: Tensor) -> Tensor:
        """The probability of 1."""
        return parameters.sigmoid()

    def sample(self, parameters: Tensor) -> Tensor:
        """A draw."""
        return torch.bernoulli(parameters.sigmoid())


class CategoricalHead(Head):
    """Columns of categories, from a logit per level.

    Columns with equal numbers of levels that follow each other are computed together: their parameters are ordered by
    levels, then by columns.

    Args:
        columns: the specs of the columns.

    Example:
        >>> head = CategoricalHead([Spec((), "categories", classes=4)])
        >>> head.nll(torch.zeros(1, 4), torch.tensor([[3.0]])).exp()
        tensor([[4.]])
    """

    title = "categorical"

    fewer = 0
    """The number of parameters of a column that are fewer than its levels."""

    def __init__(self, columns: Sequence[Spec]) -> None:
        super().__init__(columns)
        sizes = [spec.classes for spec in self.columns]
        # columns of runs of earlier versions have no `column`, and are computed one by one
        alike = [(spec.classes, -1 if spec.column is not None else i) for i, spec in enumerate(self.columns)]
        self.groups = [(size, len(list(same))) for (size, _), same in groupby(alike)]
        self.width = sum(sizes) - self.fewer * len(sizes)
        self.counts = [count for _, count in self.groups]

    def log_shares(self, parameters: Tensor) -> Tensor:
        """The log-probabilities of the levels (..., levels, C), from (..., levels - fewer, C)."""
        return parameters.log_softmax(-2)  # many times as fast as along the last axis

    def start(self, share: Tensor) -> Tensor:
        """The parameters of the given probabilities (levels,)."""
        return share.log()

    def prepare(self, x: Tensor, observed: Tensor) -> Tensor:
        """The frequencies of the levels.

        Half a row of each level is added, so that the probability of an unseen level is small but not 0.
        """
        starts = []
        for cells, there, spec in zip(x.T, observed.T, self.columns, strict=True):
            votes = torch.bincount(cells[there].long(), minlength=spec.classes).to(x.dtype) + 0.5
            starts.append(self.start(votes / (there.sum() + 1)))
        parts, first = [], 0
        for count in self.counts:
            parts.append(torch.stack(starts[first : first + count], 1).flatten())
            first += count
        return torch.cat(parts)

    def nll(self, parameters: Tensor, x: Tensor) -> Tensor:
        """-log p of each cell, (..., C)."""
        found = []
        for log_shares, cells in zip(self._each(parameters), x.split(self.counts, -1), strict=True):
            index = cells[..., None, :].long().expand(*log_shares.shape[:-2], 1, -1)
            found.append(log_shares.gather(-2, index).squeeze(-2))
        return -torch.cat(found, -1)

    def expected(self, parameters: Tensor) -> Tensor:
        """The probabilities of all levels of all columns, (..., E)."""
        return torch.cat([part.exp().flatten(-2) for part in self._each(parameters)], -1)

    @property
    def parameter_owner(self) -> tuple[int, ...]:
        """The column of each parameter."""
        return self._owned(self.fewer)

    @property
    def owner(self) -> tuple[int, ...]:
        """The column of each probability."""
        return self._owned(0)

    def _owned(self, fewer: int) -> tuple[int, ...]:
        found, first = [], 0
        for size, count in self.groups:
            found += list(range(first, first + count)) * (size - fewer)
            first += count
        return tuple(found)

    def statistics(self, x: Tensor) -> Tensor:
        """One-hot levels, (..., E)."""
        both = zip(x.split(self.counts, -1), self.groups, strict=True)
        hot = [F.one_hot(cells.long(), size).movedim(-1, -2).flatten(-2) for cells, (size, _) in both]
        return torch.cat(hot, -1).to(x.dtype)

    def estimate(self, expected: Tensor) -> Tensor:
        """The most probable level of each column."""
        parts = expected.split([size * count for size, count in self.groups], -1)
        both = zip(parts, self.groups, strict=True)
        return torch.cat([p.unflatten(-1, group).argmax(-2) for p, group in both], -1).to(expected)

    def sample(self, parameters: Tensor) -> Tensor:
        """A draw."""
        drawn = []
        for log_shares in self._each(parameters):
            gumbel = -torch.empty_like(log_shares).exponential_().log()
            drawn.append((log_shares + gumbel).argmax(-2))
        return torch.cat(drawn, -1).to(parameters.dtype)

    def _each(self, parameters: Tensor) -> list[Tensor]:
        """The log-probabilities of each group of columns, (..., levels, columns)."""
        # the gradient of `split` is one copy, that of slices several
        parts = parameters.split([(size - self.fewer) * count for size, count in self.groups], -1)
        both = zip(parts, self.groups, strict=True)
        return [
            self.log_shares(part.unflatten(-1, (size - self.fewer, count))) for part, (size, count) in both
        ]


class OrdinalHead(CategoricalHead):
    r"""Columns of ordered levels, from increasing thresholds.

    .. math:: P(x \le r) = \sigma(\theta_r),\quad \theta_r = \theta_{r-1} + \mathrm{softplus}(\delta_r)

    The first threshold and the increments of the others are the decoder's output. A location h that is subtracted from
    all thresholds, as in the paper, is a part of the first.

    Args:
        columns: the specs of the columns.

    Example:
        >>> head = OrdinalHead([Spec((), "ordinal", classes=2)])
        >>> head.nll(torch.zeros(1, 1), torch.tensor([[1.0]])).exp()
        tensor([[2.]])

    Reference:
        Nazabal et al., Handling Incomplete Heterogeneous Data using VAEs, 2020. arXiv:1807.03653
    """

    title = "ordinal"
    fewer = 1

    def log_shares(self, parameters: Tensor) -> Tensor:
        """The log-probabilities of the levels (..., levels, C), from (..., levels - 1, C)."""
        if not parameters.shape[-2]:
            return parameters.new_zeros(*parameters.shape[:-2], 1, parameters.shape[-1])
        first, rest = parameters[..., :1, :], F.softplus(parameters[..., 1:, :]) + 1e-6
        thresholds = torch.cat([first, rest], -2).cumsum(-2)
        end = torch.full_like(first, _FAR)
        high, low = torch.cat([thresholds, end], -2), torch.cat([-end, thresholds], -2)
        return log_interval(high, low, torch.cat([end, rest, end], -2))

    def start(self, share: Tensor) -> Tensor:
        """The parameters of the given probabilities (levels,)."""
        thresholds = (share / share.sum()).cumsum(0)[:-1].clamp(1e-6, 1 - 1e-6).logit()
        gaps = thresholds.diff().clamp_min(1e-3)
        return torch.cat([thresholds[:1], gaps + torch.log(-torch.expm1(-gaps))])
