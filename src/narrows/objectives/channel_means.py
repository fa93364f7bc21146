"""The evidence lower bound with the error of the means over channels."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from narrows.core import Autoencoder, Pass
from narrows.core.schedules import Schedule, schedule
from narrows.objectives.elbo import Elbo

__all__ = ["ChannelMeans"]


class ChannelMeans(Elbo):
    r"""The negative ELBO, and a term for the error of the mean over the channels of each step.

    .. math:: -E_{q(z|x)}[\log p(x|z)] + \lambda \sum_t \Big(\frac{1}{C_t} \sum_c (x_{tc} - \hat x_{tc})\Big)^2
              + \beta\, \mathrm{KL}(q(z|x)\,\|\,p(z))

    :math:`\hat x` is the mean of p(x | z), and :math:`C_t` the number of observed channels of a step.

    Args:
        weight: lambda.
        beta: weight of the KL divergence, a schedule.
    """

    def __init__(self, weight: float, *, beta: Schedule = 1.0) -> None:
        super().__init__(beta=beta)
        self.weights |= {"channel_means": schedule(weight, "weight")}

    def extra(self, model: Autoencoder, passed: Pass) -> Mapping[str, Tensor]:
        """The term, (*samples, B)."""
        error = model.likelihood.mean(passed.output) - passed.batch.target
        if passed.weight is None:
            return {"channel_means": error.mean(-1).square().sum(-1)}
        seen = (passed.weight != 0).expand_as(passed.batch.target)
        total = torch.where(seen, error, 0).sum(-1)
        return {"channel_means": (total / seen.sum(-1).clamp_min(1)).square().sum(-1)}
