"""p(x | z) of a table with mixed columns and missing cells: one head per type of column."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from narrows.core import Batch, Likelihood, Spec
from narrows.core.check import refuse
from narrows.core.columns import Columns, columns_of, select_columns
from narrows.likelihoods.columns import heads_of
from narrows.likelihoods.columns.head import Head

if TYPE_CHECKING:
    from narrows.core import Autoencoder

__all__ = ["MixedTable"]


class MixedTable(Likelihood):
    r"""Columns that are independent given z, each with a likelihood of its own type.

    .. math:: -\log p(x \mid z) = -\sum_d s_d \log p_d(x_d \mid z),\quad s_d = 1 \text{ if cell } d \text{ is observed}

    With the default heads all terms are -log of probabilities: none is negative, and they add up over columns of
    different types. The decoder's output is relative to the training data: an output of zero is the distribution of
    the column by itself.

    Args:
        spec: the table, whose `parts` are its columns; a vector without parts has columns of real numbers.
        numbers: p(x | z) of real numbers, integers and dates.
        counts: p(x | z) of counts.
        positives: p(x | z) of numbers from 0 with a long tail.

    Raises:
        RequestError: a column of another type, or a target other than the table itself.

    Example:
        >>> p = MixedTable(Spec((2,), parts={"a": Spec((), "binary"), "b": Spec((), "categories", classes=4)}))
        >>> p.nll(torch.zeros(1, 5), torch.tensor([[0.0, 3.0]]), torch.tensor([[0.0, 1.0]]))
        tensor([1.3863])
        >>> p.elements_nll(torch.zeros(1, 5), torch.tensor([[0.0, 3.0]]))
        tensor([[0.6931, 1.3863]])

    Reference:
        Mattei and Frellsen, MIWAE, 2019. arXiv:1812.02633;
        Nazabal et al., Handling Incomplete Heterogeneous Data using VAEs, 2020. arXiv:1807.03653
    """

    offset: Tensor

    def __init__(
        self,
        spec: Spec,
        numbers: str | Head = "logistic",
        counts: str | Head = "negative-binomial",
        positives: str | Head = "log-logistic",
    ) -> None:
        super().__init__(spec.shape)
        if spec.target is not None:
            raise refuse("target", spec.target, "omitted: the cells of a table are predicted from the others")
        columns = columns_of(spec)
        self.names, self.columns = tuple(columns), Columns.of(spec)
        heads = heads_of(list(columns.values()), numbers, counts, positives)
        self.heads = nn.ModuleList(head for head, _ in heads)
        if any(head.transformed for head, _ in heads):
            self.unit = "transformed nats"
        self.places = [places for _, places in heads]
        self.order = tuple(index for places in self.places for index in places)
        self.widths = [head.width for head, _ in heads]
        self.register_buffer("offset", torch.zeros(sum(self.widths)))

    @property
    def parameter_shape(self) -> tuple[int, ...]:
        """The parameters of all columns."""
        return (sum(self.widths),)

    @property
    def parameter_owner(self) -> tuple[int, ...]:
        """The index of the column of each parameter."""
        return tuple(places[index] for head, places in self.by_head() for index in head.parameter_owner)

    @torch.no_grad()
    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """Set the offsets to the distribution of each column in a large batch."""
        observed = _observed(batch.target, batch.weight)
        x = torch.where(observed, batch.target, 0)
        starts = [
            head.prepare(select_columns(x, places), select_columns(observed, places))
            for head, places in self.by_head()
        ]
        self.offset.copy_(torch.cat(starts))

    def nll(self, parameters: Tensor, x: Tensor, weight: Tensor | None = None) -> Tensor:
        """-log p of the observed cells, (*samples, B)."""
        x = torch.where(_observed(x, weight), x, 0)  # missing values, such as NaN, must not reach a gradient
        counted = None if weight is None else select_columns(weight.expand_as(x), self.order)
        return self.sum(self._terms(parameters, x), counted)

    def elements_nll(self, parameters: Tensor, x: Tensor) -> Tensor:
        """-log p of each cell, (*samples, B, D)."""
        return self._in_place(self._terms(parameters, x))

    def mean(self, parameters: Tensor) -> Tensor:
        """Means of numbers, probabilities of 1, most probable levels, (*samples, B, D)."""
        return self._estimate([head.expected(part) for head, part in self._split(parameters)])

    def mixture_mean(self, parameters: Tensor, weights: Tensor) -> Tensor:
        """As `mean`, for the mixture over the first axis: levels by their mixed probabilities."""
        expected = [head.expected(part) for head, part in self._split(parameters)]
        return self._estimate([torch.einsum("kb,kbe->be", weights, one) for one in expected])

    def sample(self, parameters: Tensor) -> Tensor:
        """A draw of every column, (*samples, B, D)."""
        return self._in_place(torch.cat([head.sample(part) for head, part in self._split(parameters)], -1))

    @property
    def encoded_owner(self) -> tuple[int, ...]:
        """The index of the column of each number of `encoded`."""
        return tuple(places[index] for head, places in self.by_head() for index in head.encoded_owner)

    def encoded(self, x: Tensor) -> Tensor:
        """Cells (B, D) as an encoder reads them that shares the transformations of the heads."""
        return torch.cat([head.encoded(select_columns(x, places)) for head, places in self.by_head()], -1)

    def by_head(self) -> list[tuple[Head, tuple[int, ...]]]:
        """The heads, and the columns of each."""
        return list(zip(self.heads, self.places, strict=True))  # type: ignore[arg-type]

    def _split(self, parameters: Tensor) -> list[tuple[Head, Tensor]]:
        """The heads, and the parameters of each."""
        whole = parameters + self.offset
        # the gradient of `split` is one copy, that of slices several
        parts = whole.split(self.widths, -1) if len(self.widths) > 1 else (whole,)
        return list(zip(self.heads, parts, strict=True))  # type: ignore[arg-type]

    def _terms(self, parameters: Tensor, x: Tensor) -> Tensor:
        """-log p of each cell, (*samples, B, D), by heads."""
        parts = zip(self._split(parameters), self.places, strict=True)
        return torch.cat([head.nll(part, select_columns(x, places)) for (head, part), places in parts], -1)

    def _estimate(self, expected: list[Tensor]) -> Tensor:
        """Point estimates (..., D) from the statistics of the heads."""
        both = zip(self.by_head(), expected, strict=True)
        return self._in_place(torch.cat([head.estimate(one) for (head, _), one in both], -1))

    def _in_place(self, cells: Tensor) -> Tensor:
        """Reorder columns from the order of the heads to that of the table."""
        return select_columns(cells, sorted(range(len(self.order)), key=self.order.__getitem__))


def _observed(x: Tensor, weight: Tensor | None) -> Tensor:
    """Mask of the observed cells, of the shape of x."""
    return torch.ones_like(x, dtype=torch.bool) if weight is None else (weight != 0).expand_as(x)
