"""Adapting the weight of a cost during training until the code has a target sparsity or error."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from narrows.bottlenecks.sparse.penalised import Penalised
from narrows.core import Autoencoder, Batch, Part, Pass, Sparse, all_sum
from narrows.core.check import number
from narrows.core.evidence import Latents, Residual

__all__ = ["Target", "TargetFVU", "TargetL0"]

_NEAR, _DRIFT, _MOST, _FADE = 0.5, 2e-4, 3e-3, 0.97
"""Of the drift: the error below which it integrates, its rate, its maximum, and its decay above that error.
"""


class Target(Part):
    r"""Controls a weight: it increases while L0 (or the explained variance) is above a target.

    .. math:: e_t = \beta\, e_{t-1} + (1 - \beta) \log(L_0 / L_0^*), \qquad
        f_t = \mathrm{clip}(e_t + T (e_t - e_{t-1}), -1, 1), \qquad
        \log \lambda_{t+1} = \log \lambda_t + \eta f_t + d_t

    and for a target of the fraction of variance unexplained, FVU, the same with :math:`\log(FVU^* / FVU)`.
    The weight follows the error extrapolated T steps ahead, because the model responds with a delay; without
    that it would oscillate. The drift d integrates the error near the target
    (:math:`d_t = d_{t-1} + f_t / 5000` for :math:`|f_t| < 1/2`, else it decays), because the weight must keep
    changing while the model learns, which would leave a constant error. Methods can then be compared at the
    same L0, whatever the units of their costs.

    Args:
        cost: name of the cost whose weight is adapted.
        start: the initial weight.
        rate: rate of change of the weight, eta.
        ahead: number of steps of the extrapolation, T.
        smooth: decay of the EMA of the error, beta.

    Raises:
        RequestError: a number out of range.
    """

    log_weight: Tensor
    gap: Tensor
    drift: Tensor

    def __init__(self, cost: str, start: float, rate: float, ahead: float, smooth: float) -> None:
        super().__init__()
        self.cost, self.decay = cost, number("smooth", smooth, low=0, high=1)
        self.rate, self.ahead = number("rate", rate, low=0), number("ahead", ahead, low=0)
        self.register_buffer("log_weight", torch.tensor(math.log(number("start", start, low=1e-12))))
        self.register_buffer("gap", torch.tensor(math.nan))
        self.register_buffer("drift", torch.zeros(()))

    @property
    def weight(self) -> Tensor:
        """The current weight."""
        return self.log_weight.exp()

    def begin(self, model: Autoencoder, batch: Batch) -> None:
        """Before training, with a large batch: let the code start at the target; by default, do nothing."""

    def after_step(self, passed: Pass) -> None:
        """Update the weight with the error of this step's code."""
        gap = self.excess(passed).clamp(-4, 4).to(self.gap.dtype)
        before = torch.where(self.gap.isnan(), gap, self.gap)
        self.gap.copy_(torch.lerp(gap, before, self.decay))
        predicted = (self.gap + self.ahead * (self.gap - before)).clamp(-1, 1)
        integrated = (self.drift + _DRIFT * predicted).clamp(-_MOST, _MOST)
        self.drift.copy_(torch.where(predicted.abs() < _NEAR, integrated, _FADE * self.drift))
        self.log_weight.add_(self.rate * predicted + self.drift)

    def excess(self, passed: Pass) -> Tensor:
        """The log-ratio of the measured value and the target, over all processes."""
        raise NotImplementedError(f"{type(self).__name__} must define excess")


class TargetL0(Target):
    r"""A target for the number of active latents, L0, which the code has from the first step on.

    Before training the level above which a latent is active is set such that each latent is active on the
    same share :math:`L_0^* / N` of the examples. A dense code whose L0 falls to the target during training
    spends most of a budget on the way, and loses latents there.

    Args:
        l0: the mean number of active latents of an example (of a row, if examples have several).
        start: the initial weight.
        rate: rate of change of the weight.
        ahead: number of steps of the extrapolation.
        smooth: decay of the EMA of the error.
        cost: name of the cost whose weight is adapted.
        rows: number of rows of an example.

    Raises:
        RequestError: a number out of range.

    Example:
        >>> TargetL0(8.0).weight
        tensor(0.1000)
    """

    def __init__(
        self,
        l0: float,
        *,
        start: float = 0.1,
        rate: float = 0.06,
        ahead: float = 30.0,
        smooth: float = 0.8,
        cost: str = "l1",
        rows: int = 1,
    ) -> None:
        super().__init__(cost, start, rate, ahead, smooth)
        self.l0 = number("l0", rows * l0, low=1e-3)

    def begin(self, model: Autoencoder, batch: Batch) -> None:
        """Make each latent active on as many examples as all others, such that L0 is the target."""
        bottleneck = model.bottleneck
        if isinstance(bottleneck, Penalised):
            pre = bottleneck.pre_activations(model.encoder(batch.x, batch.condition))
            bottleneck.start(model.encoder, pre, self.l0 * len(batch) / pre.numel())

    def excess(self, passed: Pass) -> Tensor:
        """log(L0 / L0*)."""
        z = passed.code[Latents].z
        values = z.values if isinstance(z, Sparse) else z
        one = values.new_ones((), dtype=torch.double)
        active = all_sum(torch.stack([(values != 0).sum().double(), one * len(z)]))
        return torch.log(active[0].clamp_min(0.5) / (active[1] * self.l0))


class TargetFVU(Target):
    """A target for the fraction of variance unexplained, which changes for longer than L0 does.

    Args:
        fvu: the fraction.
        start: the initial weight.
        rate: rate of change of the weight.
        ahead: number of steps of the extrapolation.
        smooth: decay of the EMA of the error.
        cost: name of the cost whose weight is adapted.

    Raises:
        RequestError: a number out of range.
    """

    def __init__(
        self,
        fvu: float,
        *,
        start: float = 0.1,
        rate: float = 0.05,
        ahead: float = 40.0,
        smooth: float = 0.8,
        cost: str = "l1",
    ) -> None:
        super().__init__(cost, start, rate, ahead, smooth)
        self.fvu = number("fvu", fvu, low=1e-6, high=1)

    def excess(self, passed: Pass) -> Tensor:
        """log(FVU* / FVU)."""
        target = passed.batch.target
        varies = (target - target.mean(0)).square().sum().clamp_min(1e-30)
        share = passed.code[Residual].value.square().sum() / varies
        fvu = all_sum(torch.stack([share.double(), share.new_ones((), dtype=torch.double)]))
        return torch.log(self.fvu * fvu[1] / fvu[0].clamp_min(1e-12))
