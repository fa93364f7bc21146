"""Batch normalisation whose running moments change after a step only."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from narrows.core import Part, Pass

__all__ = ["BatchNorm"]

_RATE = 0.01
_EPS = 1e-3


class BatchNorm(Part):
    r"""Batch normalisation of features, with a learned scale and shift.

    .. math:: y = g\, \frac{x - \bar x}{\sqrt{\mathrm{var}(x) + \epsilon}} + b

    In training the moments are those of the batch, over all axes but the last. In `eval()` they are running moments,
    which take a hundredth of those of each step, or 1 / t of those of step t if that is more.

    Args:
        width: number of features.

    Example:
        >>> BatchNorm(1)(torch.tensor([[0.0], [2.0]])).detach().round(decimals=2)
        tensor([[-1.],
                [ 1.]])

    Reference:
        Ioffe and Szegedy, Batch Normalization, 2015. arXiv:1502.03167
    """

    mean: Tensor
    variance: Tensor
    steps: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("variance", torch.ones(width))
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))
        self._last: list[tuple[Tensor, Tensor]] = []  # moments of the last pass in training

    def forward(self, x: Tensor) -> Tensor:
        """Features (..., width) -> (..., width)."""
        mean, variance = self.mean, self.variance
        if self.training:
            variance, mean = torch.var_mean(x.flatten(0, -2), 0, correction=0)
            self._last[:] = [(mean.detach(), variance.detach())]
        return (x - mean) * (variance + _EPS).rsqrt() * self.scale + self.shift

    def after_step(self, passed: Pass) -> None:
        """Move the running moments."""
        if self._last:
            self.steps += 1
            rate = max(_RATE, 1 / int(self.steps))
            for running, seen in zip((self.mean, self.variance), self._last.pop(), strict=True):
                running.lerp_(seen.to(running.dtype), rate)
