"""The objective of pairs: both sides are reconstructed and aligned."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from narrows.core import Autoencoder, Pass
from narrows.core.check import number
from narrows.core.schedules import Schedule
from narrows.nets.dictionaries.paired import PairEncoder
from narrows.objectives.sparse import SparseObjective

__all__ = ["PairAlignment"]


class PairAlignment(SparseObjective):
    r"""The squared errors of both sides, and a contrastive loss that aligns the sides of a pair.

    .. math:: L = \|x - \hat x\|^2 + \|y - \hat y\|^2 - \lambda \tfrac12 \Big[ \log
        \frac{e^{\cos(x_b, y_b) / \tau}}{\sum_c e^{\cos(x_b, y_c) / \tau}} + \log
        \frac{e^{\cos(x_b, y_b) / \tau}}{\sum_c e^{\cos(x_c, y_b) / \tau}} \Big]

    The cosines are those of the sides after the encoder's alignment maps, which this term trains.

    Args:
        weight: weight of the alignment, lambda.
        temperature: tau.
    """

    def __init__(self, weight: Schedule, temperature: float = 0.07) -> None:
        super().__init__(weights={"align": weight})
        self.temperature = number("temperature", temperature, low=1e-4)

    def extra(self, model: Autoencoder, passed: Pass) -> Mapping[str, Tensor]:
        """The contrastive term of each pair, (B,)."""
        encoder = model.encoder
        assert isinstance(encoder, PairEncoder)
        one, two = F.normalize(encoder.mapped(passed.batch.x), dim=2).unbind(1)
        table, same = one @ two.T / self.temperature, torch.arange(len(one), device=one.device)
        ways = (F.cross_entropy(t, same, reduction="none") for t in (table, table.T))
        return {"align": 0.5 * sum(ways, torch.zeros_like(table[0]))}
