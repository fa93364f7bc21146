"""A price that finds itself: the weight of a cost, steered until the code is as sparse, or as exact, as wanted."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from narrows.core import Part, Pass, Sparse, all_sum
from narrows.core.check import number
from narrows.core.evidence import Latents, Residual

__all__ = ["Target", "TargetFVU", "TargetL0"]

_NEAR, _DRIFT, _MOST, _FADE = 0.5, 2e-4, 3e-3, 0.97
"""The gap from which on the drift is collected, how fast, up to where, and how fast it fades further off."""


class Target(Part):
    r"""A weight that rises while more latents are on (or less is explained) than wanted, and falls else.

    .. math:: e_t = \beta\, e_{t-1} + (1 - \beta) \log(L_0 / L_0^*), \qquad
        f_t = \mathrm{clip}(e_t + T (e_t - e_{t-1}), -1, 1), \qquad
        \log \lambda_{t+1} = \log \lambda_t + \eta f_t + d_t

    and with a target for the unexplained variance, FVU, the same with :math:`\log(FVU^* / FVU)`. The weight follows
    the gap that is foreseen T steps ahead, for the model answers late: without that it would swing past the target.
    The drift d collects the gaps near the target (:math:`d_t = d_{t-1} + f_t / 5000` where :math:`|f_t| < 1/2`, else
    it fades), for a model that goes on learning needs another weight at each step, which would leave a gap behind.
    Methods can then be compared at the same number of active latents, whatever the units of their costs.

    Args:
        cost: which of the code's costs is weighed.
        start: the weight at first.
        rate: how fast the weight moves, eta.
        ahead: how many steps the gap is foreseen, T.
        smooth: how much of the gap's running mean stays at a step, beta.

    Raises:
        RequestError: a number out of range.
    """

    log_weight: Tensor
    gap: Tensor
    drift: Tensor

    def __init__(self, cost: str, start: float, rate: float, ahead: float, smooth: float) -> None:
        super().__init__()
        self.cost, self.kept = cost, number("smooth", smooth, low=0, high=1)
        self.rate, self.ahead = number("rate", rate, low=0), number("ahead", ahead, low=0)
        self.register_buffer("log_weight", torch.tensor(math.log(number("start", start, low=1e-12))))
        self.register_buffer("gap", torch.tensor(math.nan))
        self.register_buffer("drift", torch.zeros(()))

    @property
    def weight(self) -> Tensor:
        """The weight as it stands."""
        return self.log_weight.exp()

    def after_step(self, passed: Pass) -> None:
        """Move the weight by what this step's code had too many or too few."""
        gap = self.excess(passed).clamp(-4, 4).to(self.gap.dtype)
        before = torch.where(self.gap.isnan(), gap, self.gap)
        self.gap.copy_(torch.lerp(gap, before, self.kept))
        foreseen = (self.gap + self.ahead * (self.gap - before)).clamp(-1, 1)
        collected = (self.drift + _DRIFT * foreseen).clamp(-_MOST, _MOST)
        self.drift.copy_(torch.where(foreseen.abs() < _NEAR, collected, _FADE * self.drift))
        self.log_weight.add_(self.rate * foreseen + self.drift)

    def excess(self, passed: Pass) -> Tensor:
        """The logarithm of what the code is above its target, over all processes."""
        raise NotImplementedError(f"{type(self).__name__} must define excess")


class TargetL0(Target):
    """A target for how many latents are on.

    Args:
        l0: how many, on average, in one example (in one row, where an example has several).
        start: the weight at first.
        rate: how fast the weight moves.
        ahead: how many steps the gap is foreseen.
        smooth: how much of the gap's running mean stays at a step.
        cost: which of the code's costs is weighed.
        rows: how many rows an example has.

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
        rate: float = 0.03,
        ahead: float = 60.0,
        smooth: float = 0.8,
        cost: str = "l1",
        rows: int = 1,
    ) -> None:
        super().__init__(cost, start, rate, ahead, smooth)
        self.l0 = number("l0", rows * l0, low=1e-3)

    def excess(self, passed: Pass) -> Tensor:
        """log(L0 / L0*)."""
        z = passed.code[Latents].z
        values = z.values if isinstance(z, Sparse) else z
        one = values.new_ones((), dtype=torch.double)
        on = all_sum(torch.stack([(values != 0).sum().double(), one * len(z)]))
        return torch.log(on[0].clamp_min(0.5) / (on[1] * self.l0))


class TargetFVU(Target):
    """A target for the share of variance that stays unexplained, which drifts for longer than L0 does.

    Args:
        fvu: the share.
        start: the weight at first.
        rate: how fast the weight moves.
        ahead: how many steps the gap is foreseen.
        smooth: how much of the gap's running mean stays at a step.
        cost: which of the code's costs is weighed.

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
