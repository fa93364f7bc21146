"""Columns of counts: Poisson, negative binomial, and negative binomial with additional zeros."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from narrows.core import Spec
from narrows.likelihoods.columns.head import Head, column_mean
from narrows.likelihoods.counts import NegativeBinomial, Poisson, ZeroInflated

__all__ = ["CountHead", "negative_binomial", "poisson", "zero_inflated"]


_TITLES = {Poisson: "Poisson", NegativeBinomial: "negative binomial", ZeroInflated: "zero-inflated"}


class CountHead(Head):
    """Columns of counts with a likelihood of counts.

    Args:
        columns: the specs of the columns.
        inner: the likelihood, of the shape (C,).

    Example:
        >>> poisson([Spec((), "counts")]).nll(torch.zeros(1), torch.tensor([[0.0]]))
        tensor([[1.]])
    """

    def __init__(self, columns: Sequence[Spec], inner: Poisson | NegativeBinomial) -> None:
        super().__init__(columns)
        self.inner = inner
        self.title = _TITLES[type(inner)]
        (self.width,) = inner.parameter_shape

    @torch.no_grad()
    def prepare(self, x: Tensor, observed: Tensor) -> Tensor:
        """The logarithm of the mean, and the dispersion of the variance; few additional zeros."""
        mean = column_mean(x, observed).clamp_min(1e-3)
        if isinstance(self.inner, NegativeBinomial):
            excess = column_mean((x - mean).square(), observed) - mean
            dispersion = (mean.square() / excess.clamp_min(1e-6)).clamp(0.05, 100)
            self.inner.log_dispersion.copy_(dispersion.log())
        rare = [torch.full_like(mean, -3.0)] if isinstance(self.inner, ZeroInflated) else []
        return torch.cat([mean.log(), *rare])

    def nll(self, parameters: Tensor, x: Tensor) -> Tensor:
        """-log p of each cell, (..., C)."""
        return self.inner.elements_nll(parameters, x)

    def expected(self, parameters: Tensor) -> Tensor:
        """The means."""
        return self.inner.mean(parameters)

    def sample(self, parameters: Tensor) -> Tensor:
        """A draw."""
        return self.inner.sample(parameters)


def negative_binomial(columns: Sequence[Spec]) -> CountHead:
    """Negative binomials, with a learned dispersion per column."""
    return CountHead(columns, NegativeBinomial((len(columns),)))


def poisson(columns: Sequence[Spec]) -> CountHead:
    """Poisson variables."""
    return CountHead(columns, Poisson((len(columns),)))


def zero_inflated(columns: Sequence[Spec]) -> CountHead:
    """Negative binomials with additional zeros."""
    return CountHead(columns, ZeroInflated((len(columns),)))
