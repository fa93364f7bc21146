"""Exponential moving averages of weights, which are evaluated and saved in place of the weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

__all__ = ["Average"]


class Average:
    r"""An exponential moving average of parameters.

    .. math:: a_t = d_t\, a_{t-1} + (1 - d_t)\, w_t,\qquad d_t = \min\left(d, \frac{1 + t}{10 + t}\right)

    The average starts at the initial weights. The smaller decay of the first steps lets it move away quickly.

    Args:
        parameters: the parameters of this process.
        decay: d, below 1.

    Example:
        >>> weight = nn.Parameter(torch.zeros(1))
        >>> average = Average([weight], 0.9)
        >>> weight.data += 1
        >>> average.update(0)
        >>> with average.applied():
        ...     print(round(float(weight), 4))
        0.9
        >>> float(weight)
        1.0
    """

    def __init__(self, parameters: Sequence[nn.Parameter], decay: float) -> None:
        self.parameters: list[Tensor] = list(parameters)
        self.decay = decay
        self.values = [p.detach().clone() for p in self.parameters]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Update the average after step `step`, counting from 0."""
        if self.values:
            decay = min(self.decay, (1 + step) / (10 + step))
            torch._foreach_lerp_(self.values, self.parameters, 1 - decay)

    @torch.no_grad()
    def copy_to_parameters(self) -> None:
        """Set the parameters to their averages."""
        for parameter, value in zip(self.parameters, self.values, strict=True):
            parameter.detach().copy_(value)

    @torch.no_grad()
    def copy_from_parameters(self) -> None:
        """Set the averages to the current parameters."""
        for parameter, value in zip(self.parameters, self.values, strict=True):
            value.copy_(parameter.detach())

    @contextmanager
    def applied(self) -> Iterator[None]:
        """A context in which the parameters are set to their averages."""
        current: list[Tensor] = [p.detach().clone() for p in self.parameters]
        self.copy_to_parameters()
        try:
            yield
        finally:
            with torch.no_grad():
                for parameter, value in zip(self.parameters, current, strict=True):
                    parameter.detach().copy_(value)
