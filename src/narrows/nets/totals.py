"""The decoder of counts given their total, and the model that tells it the total."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from narrows.core import NO_CONDITION, Autoencoder, Batch, Condition, Part, Pass
from narrows.core.check import RequestError
from narrows.core.values import is_vectorised

__all__ = ["TOTAL", "CountAutoencoder", "ShareDecoder"]

TOTAL = "log_total"
"""The condition that tells the decoder the log-total of each example, (B, 1)."""

_LOGIT = -3.0
_SHOWN = 8
_CHUNK = 4096


class ShareDecoder(Part):
    r"""Logits of shares, which start at the shares of the training data; further parameters; and the log-total.

    .. math:: s = \mathrm{net}(z) + \log \bar\rho

    Logits of additional zeros start near -3, a probability of 0.05.
    Without the condition ``log_total`` the total is the median of the training data.

    Args:
        net: ``(z, condition) ->`` the parameters of a likelihood of counts, (..., channels * D).
        genes: the number of counts of an example, D.

    Example:
        >>> from narrows.nets.mlp import MLP
        >>> decoder = ShareDecoder(MLP((2,), (3,), ()), 3)
        >>> decoder(torch.zeros(5, 2)).shape
        torch.Size([5, 4])
    """

    log_share: Tensor
    log_total: Tensor

    def __init__(self, net: nn.Module, genes: int) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("log_share", torch.zeros(genes))
        self.register_buffer("log_total", torch.zeros(1))

    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """The shares of all counts of the batch, one added to each, and the median of the log-totals."""
        counts = batch.target.sum(0) + 1
        self.log_share.copy_((counts / counts.sum()).log())
        self.log_total.copy_(batch.target.sum(1).clamp_min(1).log().median())

    def forward(self, z: Tensor, condition: Condition = NO_CONDITION) -> Tensor:
        """(*samples, B, Z) -> (*samples, B, channels * D + 1)."""
        output: Tensor = self.net(z, condition)
        genes = len(self.log_share)
        total = condition.get(TOTAL, self.log_total).expand(*output.shape[:-1], 1)
        return torch.cat([output[..., :genes] + self.log_share, output[..., genes:] + _LOGIT, total], -1)


class CountAutoencoder(Autoencoder):
    """An autoencoder of counts whose decoder is told the total of each example.

    The arguments are those of `Autoencoder`. A batch whose condition has no ``log_total`` gets that of its input.

    Raises:
        RequestError: an example without any count, whose total is 0.
    """

    def forward(self, batch: Batch, samples: tuple[int, ...] = ()) -> Pass:
        """Encode and decode a batch, once."""
        if TOTAL not in batch.condition:
            total = batch.visible().x.sum(-1, keepdim=True)
            if not self.training and not is_vectorised():  # all examples of a data set are checked before
                _refuse(_empty(total.flatten()), "a batch")
            batch = replace(batch, condition={**batch.condition, TOTAL: total.log()})
        return super().forward(batch, samples)

    def check_examples(self, examples: Any, where: str = "the training part") -> None:
        """Raise for examples without any count."""
        empty = []
        for first in range(0, len(examples), _CHUNK):
            rows = slice(first, min(first + _CHUNK, len(examples)))
            empty += [first + i for i in _empty(examples.batch(rows).x.sum(-1))]
        origin = getattr(examples, "origin", None)
        _refuse(empty if origin is None else [int(origin[row]) for row in empty], where)


def _empty(total: Tensor) -> list[int]:
    return [int(row) for row in (total == 0).nonzero().flatten()]


def _refuse(rows: list[int], where: str) -> None:
    if rows:
        some = ", ".join(map(str, rows[:_SHOWN])) + (", ..." if len(rows) > _SHOWN else "")
        raise RequestError(
            f"All counts are 0 in {len(rows)} of the rows of {where} ({some}), which have no total. Rows are numbered "
            "from 0, as they were given. Leave such rows out, in files of cells by ``min_counts=1``."
        )
