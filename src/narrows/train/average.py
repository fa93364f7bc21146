"""Running means of weights: what is looked at and kept, while the optimizer moves the weights themselves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

__all__ = ["Average"]


class Average:
    r"""An exponential moving average of parameters.

    .. math:: a_t = d_t\, a_{t-1} + (1 - d_t)\, w_t,\qquad d_t = \min\left(d, \frac{1 + t}{10 + t}\right)

    The average begins at the weights as they are. The smaller decay of the first steps lets it leave them quickly.

    Args:
        parameters: what is averaged, as this process holds it.
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
        self.parameters, self.decay = list(parameters), decay
        self.values = [p.detach().clone() for p in self.parameters]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after step `step`, counted from 0."""
        if self.values:
            decay = min(self.decay, (1 + step) / (10 + step))
            get_ema_multi_avg_fn(decay)(self.values, [p.detach() for p in self.parameters], step)

    @torch.no_grad()
    def put(self) -> None:
        """Give the parameters their averages, for good."""
        for parameter, value in zip(self.parameters, self.values, strict=True):
            parameter.detach().copy_(value)

    @torch.no_grad()
    def take(self) -> None:
        """Begin again at the parameters' present values."""
        for parameter, value in zip(self.parameters, self.values, strict=True):
            value.copy_(parameter.detach())

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Inside, the parameters have their averages."""
        present: list[Tensor] = [p.detach().clone() for p in self.parameters]
        self.put()
        try:
            yield
        finally:
            with torch.no_grad():
                for parameter, value in zip(self.parameters, present, strict=True):
                    parameter.detach().copy_(value)
