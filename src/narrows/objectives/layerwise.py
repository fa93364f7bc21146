"""Objectives over several layers, with each layer's error normalised by its own variance."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from narrows.core import Autoencoder, Batch, Loss, Pass
from narrows.nets.dictionaries.layer_groups import GroupDictionary
from narrows.objectives.sparse import SparseObjective

__all__ = ["DrawnObjective", "StackedObjective"]


class StackedObjective(SparseObjective):
    r"""Squared errors of several layers, each normalised.

    .. math:: d(x, \hat x) = c \sum_l \| s_l (x^l - \hat x^l) \|^2

    s_l scales layer l to mean square 1, and c scales the sum back to units of the data, those of the
    penalties and the auxiliary loss. Both are part of the dictionary's `balance`.
    """

    def distortion(self, model: Autoencoder, passed: Pass) -> Tensor:
        """The squared error of each example, (B,), the layers weighted by the dictionary's `balance`."""
        balance: Any = model.decoder.balance
        weight = balance.reshape(passed.batch.target.shape[1:])
        if passed.weight is not None:
            weight = weight * passed.weight
        return model.likelihood.nll(passed.output, passed.batch.target, weight)


class DrawnObjective(StackedObjective):
    r"""`StackedObjective` for groups of layers, with one random layer of each group per example.

    .. math:: d(x, \hat x) = c \sum_g n_g \| s_{l_g} (x^{l_g} - \hat x^{l_g}) \|^2, \qquad l_g \sim g

    With n_g the number of layers in group g its expectation is the sum over all layers, which is used in
    ``eval()``. A step costs each dictionary as many rows as if its group had one layer.
    """

    def forward(self, model: Autoencoder, batch: Batch, step: int = 0) -> Loss:
        """The loss of a batch, with random layers in training."""
        decoder = model.decoder
        assert isinstance(decoder, GroupDictionary)
        if model.training and batch.weight is None and decoder.count < len(decoder.groups):
            batch = Batch(decoder.draw(batch.x))
        return super().forward(model, batch, step)

    def distortion(self, model: Autoencoder, passed: Pass) -> Tensor:
        """The squared error of each example, (B,), the layers weighted as in `StackedObjective`."""
        decoder = model.decoder
        assert isinstance(decoder, GroupDictionary)
        if passed.batch.x.shape[1] == len(decoder.groups):
            return super().distortion(model, passed)
        unit = decoder.balance[0, 0] / decoder.scale[0, 0].square()
        weight = unit * decoder.groups.bincount(minlength=decoder.count).unsqueeze(1)
        return model.likelihood.nll(passed.output, passed.batch.target, weight)
