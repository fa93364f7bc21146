"""The objective over several layers at once: each layer's error counts by its own variance."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from narrows.core import Autoencoder, Batch, Code, counted
from narrows.objectives.sparse import SparseObjective

__all__ = ["StackedObjective"]


class StackedObjective(SparseObjective):
    r"""Squared errors of several layers, each on its own scale.

    .. math:: d(x, \hat x) = c \sum_l \| s_l (x^l - \hat x^l) \|^2

    s_l brings layer l to mean square 1, and c brings the sum back into units of the data, where the prices of
    latents and the auxiliary loss are. Both are the dictionary's, in its `balance`.
    """

    def fidelity(self, model: Autoencoder, batch: Batch, code: Code, output: Tensor) -> Tensor:
        """The squared error of each example, (B,), the layers weighted by the dictionary's `balance`."""
        balance: Any = model.decoder.balance
        weight = balance.reshape(batch.goal.shape[1:])
        also = counted(code, batch)
        return model.likelihood.nll(output, batch.goal, weight if also is None else weight * also)
