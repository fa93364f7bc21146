"""Nets of arrays for windows of series: with missing values, missing steps and times."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from narrows.core.check import RequestError
from narrows.nets.sequence import Clock, Steps

__all__ = ["WindowEncoder"]


class WindowEncoder(nn.Module):
    r"""A net of arrays (T, F) that reads windows of series.

    .. math:: h = f(s \odot x,\; s,\; \log(1 + \delta / \bar\delta))

    A step has the channels of the values, 0 where they are missing; the mask s of observed values, or if the training
    data miss whole steps only, of these; and with times the scaled gap since the previous step, see `Clock`.

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
        self.net: nn.Module = nn.Identity()

    def read(self, x: Tensor, condition: Mapping[str, Tensor]) -> Tensor:
        """The input of the net, (B, T, F)."""
        if x.shape[1] != self.length:
            raise RequestError(
                f"The model reads windows of {self.length} steps, and there are series of {x.shape[1]}. Cut them: "
                f"``window={self.length}``."
            )
        steps = Steps.of(condition, x)
        mask = steps.observed if self.holes else steps.mask.unsqueeze(-1)
        parts = [torch.where(steps.observed, x, 0), mask.to(x)]
        if self.clock is not None:
            parts.append(self.clock(steps.passed).to(x).unsqueeze(-1))
        return torch.cat(parts, -1)

    def forward(self, x: Tensor, condition: Mapping[str, Tensor] | None = None) -> Tensor:
        """Series (B, T, C), with masks and times in the condition -> features."""
        out: Tensor = self.net(self.read(x, condition or {}))
        return out
