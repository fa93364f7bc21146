"""Nets of arrays for windows of series: with missing values, missing steps and times."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from narrows.core import NO_CONDITION, Autoencoder, Batch, Condition, Part, Tree
from narrows.core.check import RequestError
from narrows.nets.sequence import Clock, Steps, gaps

__all__ = ["Waves", "WindowDecoder", "WindowEncoder"]

_MOST = 256
"""Largest number of cosines."""
_ROUNDING = 1e-3
"""Deviations from equal steps, in steps, that are errors of rounding."""


class Waves(Part):
    r"""By how much cosines of time at the steps of a window differ from those at equal steps, (B, T, K).

    .. math:: w_{tk} = \cos(\pi k p_t / L) - \cos(\pi k t / L),\quad p_t = (\tau_t - \tau_0) / \delta,\quad L = 2 T

    The place p of a step is the time :math:`\tau` since the first one in units of the usual gap :math:`\delta`, the
    median one of the batch of `prepare`, and at most L. At equal steps p = t, and w is 0 exactly.

    Args:
        length: T.

    Example:
        >>> found = Waves(4)({"times": torch.tensor([[0.0, 1, 2, 3], [0, 1, 3, 4]])})
        >>> found.shape, found.abs().sum((1, 2)) > 0
        (torch.Size([2, 4, 8]), tensor([False,  True]))
    """

    gap: Tensor
    numbers: Tensor

    def __init__(self, length: int) -> None:
        super().__init__()
        self.length = length
        numbers = math.pi * torch.arange(1, min(2 * length, _MOST) + 1) / (2 * length)
        self.register_buffer("gap", torch.ones(()))
        self.register_buffer("numbers", numbers, persistent=False)

    @torch.no_grad()
    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """Store the median gap."""
        if "times" in batch.condition:
            passed = gaps(batch.condition["times"], batch.condition.get("mask"))
            if bool((passed > 0).any()):
                self.gap.copy_(passed[passed > 0].median())

    def places(self, condition: Condition) -> Tensor:
        """The places of the steps, (B, T), from the condition ``times`` and the mask of existing steps."""
        times = condition["times"]
        places = (
            (gaps(times, condition.get("mask")).to(self.gap) / self.gap).cumsum(1).clamp(max=2 * self.length)
        )
        equal = torch.arange(self.length, device=times.device).to(places)
        return torch.where((places - equal).abs() < _ROUNDING, equal, places)

    def forward(self, condition: Condition) -> Tensor:
        """The cosines, (B, T, K), for a condition with ``times``."""
        equal = torch.arange(self.length, device=self.gap.device).to(self.gap)
        at, base = (
            torch.cos(where.unsqueeze(-1) * self.numbers) for where in (self.places(condition), equal)
        )
        return at - base


class WindowEncoder(nn.Module):
    r"""A net of arrays (T, F) that reads windows of series.

    .. math:: h = f\big(y + A W^\top y\big),\quad y = \big[s \odot x,\; s,\; \log(1 + \delta / \bar\delta)\big]

    A step has the channels of the values, 0 where they are missing; the mask s of observed values, or if the training
    data miss whole steps only, of these; and with times the scaled gap since the previous step, see `Clock`. With times
    a learned matrix A, 0 at first, moves values and masks by their `Waves` W from where they are to equal steps, of
    which the net knows nothing but their order.

    Args:
        shape: (T, C) of a window.
        holes: whether single values of a step may be missing.
        timed: whether the data have times.

    Raises:
        RequestError: in `forward`, series that are longer than a window.

    Example:
        >>> encoder = WindowEncoder((5, 2), holes=True)
        >>> encoder.shape, encoder.read(torch.ones(3, 5, 2), {}).shape
        ((5, 4), torch.Size([3, 5, 4]))
    """

    def __init__(self, shape: tuple[int, int], holes: bool = False, timed: bool = False) -> None:
        super().__init__()
        self.length, channels = shape
        self.holes, self.clock = holes, Clock() if timed else None
        self.shape = (self.length, channels + (channels if holes else 1) + timed)
        if timed:
            self.waves = Waves(self.length)
            self.mixing = nn.Parameter(torch.zeros(self.length, len(self.waves.numbers)))
        self.net: nn.Module = nn.Identity()

    def read(self, x: Tensor, condition: Condition) -> Tensor:
        """The input of the net, (B, T, F)."""
        if x.shape[1] != self.length:
            raise RequestError(
                f"The model reads windows of {self.length} steps, and there are series of {x.shape[1]}. Cut them: "
                f"``window={self.length}``."
            )
        steps = Steps.of(condition, x)
        mask = steps.observed if self.holes else steps.mask.unsqueeze(-1)
        parts = torch.cat([torch.where(steps.observed, x, 0), mask.to(x)], -1)
        if self.clock is None:
            return parts
        if "times" in condition:
            waves = self.waves(condition).to(x)
            parts = parts + self.mixing @ (waves.mT @ parts)
        return torch.cat([parts, self.clock(steps.passed).to(x).unsqueeze(-1)], -1)

    def forward(self, x: Tensor, condition: Mapping[str, Tensor] | None = None) -> Tensor:
        """Series (B, T, C), with masks and times in the condition -> features."""
        out: Tensor = self.net(self.read(x, condition or {}))
        return out


class WindowDecoder(nn.Module):
    r"""A decoder of windows (T, C) that is told the times of their steps.

    .. math:: \hat x = d(z) + W A\, d(z)

    d is a decoder of equal steps, W the `Waves` of the steps, and A a learned matrix, 0 at first. There is a matrix
    with which :math:`\hat x` is the curve through d(z) at equal steps, read at the times of the steps. At equal steps,
    and without times, the output is d(z).

    Args:
        net: the decoder d.
        length: T.

    Example:
        >>> decoder = WindowDecoder(WindowEncoder((4, 3)), 4)
        >>> decoder(torch.ones(2, 4, 3), {"times": torch.rand(2, 4).cumsum(1)}).shape
        torch.Size([2, 4, 4])
    """

    def __init__(self, net: nn.Module, length: int) -> None:
        super().__init__()
        self.length, self.waves = length, Waves(length)
        self.mixing = nn.Parameter(torch.zeros(len(self.waves.numbers), length))
        self.net = net

    def forward(self, z: Tree, condition: Condition = NO_CONDITION) -> Tensor:
        """Codes of B windows -> parameters of a likelihood, (*samples, B, R T, C), with R numbers for each value."""
        out: Tensor = self.net(z, condition)
        if "times" not in condition:
            return out
        waves = self.waves(condition).to(out).unsqueeze(1)
        steps = out.unflatten(-2, (-1, self.length))
        return (steps + waves @ (self.mixing @ steps)).flatten(-3, -2)
