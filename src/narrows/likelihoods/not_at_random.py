"""p(x, s | z) of a mixed table and of the mask of its observed cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from narrows.core import Batch, Completion, Pass, Spec
from narrows.core.columns import select_columns
from narrows.likelihoods.columns.head import Head
from narrows.likelihoods.mechanisms import MECHANISMS, Mechanism
from narrows.likelihoods.table import MixedTable

if TYPE_CHECKING:
    from narrows.core import Autoencoder

__all__ = ["NotAtRandom"]


class NotAtRandom(MixedTable):
    r"""The observed cells of a table, and the mask s of observed cells, which depends on all cells.

    .. math:: -\log p(x^o \mid z) - \log p(s \mid x^o, x^m),\qquad x^m \sim p(x^m \mid z)

    Each evaluation for a pass (`pass_nll`) draws the missing cells anew, one draw for each code; `nll` is that of the
    observed cells alone. Draws of densities have their gradient, those of a mixture on a grid by implicit
    differentiation; levels and counts have the gradient of their mean.

    Imputed values are means over the draws of the codes, weighted by importance weights with p(s | x) in them: since a
    weight depends on the draw, the mean of p(x | z) must not take its place.

    Args:
        spec: the table, see `MixedTable`.
        numbers: p(x | z) of real numbers, integers and dates.
        counts: p(x | z) of counts.
        mechanism: p(s | x).

    Raises:
        RequestError: see `MixedTable`.

    Example:
        >>> p = NotAtRandom(Spec((2,), parts={"a": Spec(()), "b": Spec((), "categories", classes=4)}))
        >>> p.mask_nll(torch.zeros(3, 5), torch.tensor([[True, False]])).shape
        torch.Size([3])

    Reference:
        Ipsen, Mattei and Frellsen, not-MIWAE, 2021. arXiv:2006.12871
    """

    smooth = False

    centre: Tensor
    scale: Tensor

    def __init__(
        self,
        spec: Spec,
        numbers: str | Head = "gaussian",
        counts: str | Head = "negative-binomial",
        mechanism: str | Mechanism = "linear",
    ) -> None:
        super().__init__(spec, numbers, counts)
        self.owner: list[int] = []
        for head, _ in self.by_head():
            first = max(self.owner, default=-1) + 1
            self.owner += [first + index for index in head.owner]
        self.mechanism = MECHANISMS.make(mechanism, owner=self.owner)
        self.register_buffer("centre", torch.zeros(len(self.owner)))
        self.register_buffer("scale", torch.ones(len(self.owner)))

    @torch.no_grad()
    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """Also standardise rows by their observed cells, and set the bias to the shares of observed cells."""
        super().prepare(model, batch)
        observed = select_columns(_seen(batch), self.order)
        there = observed[:, self.owner]
        row = torch.where(there, self._row(torch.where(_seen(batch), batch.target, 0)), 0)
        count = there.sum(0).clamp_min(1)
        self.centre.copy_(row.sum(0) / count)
        variance = torch.where(there, row - self.centre, 0).square().sum(0) / count
        self.scale.copy_(torch.where(variance > 0, variance.sqrt(), 1.0))
        self.mechanism.bias.copy_(((observed.sum(0) + 0.5) / (len(observed) + 1)).logit())

    def pass_nll(self, passed: Pass) -> Tensor:
        """-log p(x observed | z) - log p(s | x) with a draw of the missing cells, (*samples, B)."""
        seen = _seen(passed.batch)
        return super().pass_nll(passed) + self.mask_nll(self._filled(passed, seen), seen)

    def mask_nll(self, row: Tensor, observed: Tensor) -> Tensor:
        """-log p(s | x) from rows as statistics of the heads (..., E), and the mask s, (B, D)."""
        logits = self.mechanism((row - self.centre) / self.scale)
        seen = select_columns(observed, self.order).to(logits.dtype)
        return (F.softplus(logits) - seen * logits).sum(-1)

    def complete(self, passed: Pass) -> Completion:
        """The missing values given the observed ones and the mask: draws, weighted by p(s | x) too."""
        seen = _seen(passed.batch)
        row = self._filled(passed, seen)
        nll = super().pass_nll(passed) + self.mask_nll(row, seen)

        def estimate(weights: Tensor) -> Tensor:
            return self._cells(torch.einsum("kb,kbe->be", weights, row))

        def draw(codes: Tensor) -> Tensor:
            return self._cells(row[codes, torch.arange(codes.shape[1], device=codes.device)])

        return Completion(nll, estimate, draw)

    def _filled(self, passed: Pass, observed: Tensor) -> Tensor:
        """The observed cells with a draw of the others, as statistics of the heads, (*samples, B, E)."""
        drawn = torch.cat([head.rsample(part) for head, part in self._split(passed.output)], -1)
        there = select_columns(observed, self.order)[..., self.owner]
        return torch.where(there, self._row(torch.where(observed, passed.batch.target, 0)), drawn)

    def _row(self, x: Tensor) -> Tensor:
        """Cells (B, D) as statistics of the heads, (B, E)."""
        return torch.cat([head.statistics(select_columns(x, places)) for head, places in self.by_head()], -1)

    def _cells(self, row: Tensor) -> Tensor:
        """Point estimates (..., D) from statistics of the heads (..., E)."""
        widths = [len(head.owner) for head, _ in self.by_head()]
        return self._estimate(list(row.split(widths, -1)))


def _seen(batch: Batch) -> Tensor:
    """The mask of the observed cells, (B, D)."""
    if "observed" in batch.condition:
        return batch.condition["observed"].bool()
    x: Tensor = batch.target
    return torch.ones_like(x, dtype=torch.bool) if batch.weight is None else (batch.weight != 0).expand_as(x)
