"""A trimmed mean of the losses of a batch, for training rows with anomalies among them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from narrows.core import Autoencoder, Pass, Penalty
from narrows.core.check import fraction, refuse

__all__ = ["Trimmed"]


class Trimmed(Penalty):
    r"""The mean over the smallest losses of a batch: the largest are left out, in training and in early stopping.

    .. math:: L = \frac{1}{h} \sum_{i=1}^h \ell_{(i)},\qquad \ell_{(1)} \le \dots \le \ell_{(B)},\quad
              h = B - \lfloor t B \rfloor

    With weights the model has in each step, as in least trimmed squares: rows that it explains worst do not move it.

    Args:
        share: t, the fraction of a batch that is left out; at least that of the anomalies.

    Raises:
        RequestError: a share that is no fraction.

    Example:
        >>> Trimmed(0.25).trimmed(torch.tensor([1.0, 9.0, 2.0, 3.0]))
        tensor(2.)

    Reference:
        Rousseeuw, Least Median of Squares Regression, 1984. Zhou and Paffenroth, Anomaly Detection with Robust Deep
        Autoencoders, 2017, leave out cells in a similar way.
    """

    def __init__(self, share: float = 0.1) -> None:
        super().__init__({})
        self.share = fraction("share", share)

    def forward(self, model: Autoencoder, passed: Pass) -> Mapping[str, Tensor]:
        """No terms."""
        return {}

    def reduced(self, reduce: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        """The trimmed mean in place of the mean.

        Raises:
            RequestError: the objective is no mean of the losses of examples.
        """
        if reduce is not torch.mean:
            raise refuse(
                "penalty", "trim", "left out: this objective is no mean over the examples of a batch"
            )
        return self.trimmed

    def trimmed(self, losses: Tensor) -> Tensor:
        """The trimmed mean of losses (*samples, B), of each sample apart, averaged."""
        count = losses.shape[-1]
        kept = count - math.floor(self.share * count)
        return losses.topk(kept, largest=False, sorted=False).values.mean()
