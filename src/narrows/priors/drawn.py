"""Priors over real-valued codes, learned from draws of their posteriors."""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Normal

from narrows.bottlenecks.gaussian.diagonal import diagonal
from narrows.core import Autoencoder, Batch, Code, Prior, Symbols
from narrows.priors.labels import LabelledPrior

__all__ = ["DrawnCodes", "StandardCodes"]

_LEAST = 1e-6
"""Smallest standard deviation of a coordinate of the codes."""


class DrawnCodes(Prior):
    """Base class of priors over real-valued codes.

    If the code has a posterior, the prior is learned from draws, as the decoder was, unless ``draws`` is False. Of a
    Gaussian posterior a new draw is made each time.
    """

    reads: ClassVar[tuple[str, ...]] = ("vector", "tokens", "array")

    symbols: Symbols
    draws: bool = True

    @property
    def size(self) -> int:
        """How many numbers a code has, Z."""
        return math.prod(self.symbols.shape)

    def view(self, model: Autoencoder, batch: Batch) -> Batch:
        """The codes of a batch, with the ``deviation`` of each number of theirs where it shall be drawn."""
        code = model.encode_fixed(batch)
        symbols, condition = model.bottleneck.to_symbols(code), dict(batch.condition)
        normal = self.normal(code)
        if self.draws and code.q is not None and code.q.event_shape.numel() == self.size:
            if normal is None:
                symbols = code.q.sample().view_as(symbols)
            else:
                symbols = normal.loc.view_as(symbols)
                condition["deviation"] = normal.scale.view_as(symbols)
        return Batch(symbols, condition=condition)

    def normal(self, code: Code) -> Normal | None:
        """The diagonal Gaussian posterior of a code, if it has one, over as many numbers as a code of this prior."""
        q = code.q
        return q.base_dist if diagonal(q) and q.event_shape.numel() == self.size else None

    def drawn(self, batch: Batch) -> Tensor:
        """The codes of a batch, flat, (B, Z); where it says how far they scatter, a draw."""
        mean, scale = batch.x, batch.condition.get("deviation")
        drawn: Tensor = mean if scale is None else mean + scale * torch.randn_like(mean)
        return drawn.flatten(1)


class StandardCodes(DrawnCodes, LabelledPrior):
    """Base class of priors over codes that are standardised first.

    Each number of a vector has a mean and a deviation of its own; tokens and arrays have them by channel, the last
    axis of tokens (L, C) and the first of arrays (C, ...).

    Args:
        symbols: what the bottleneck stores of an example.
        draws: of a code with a posterior, learn draws from it instead of its mean.
        elementwise: a mean and a deviation for each number of tokens and arrays, too.
        classes: how many labels the data have.
        labels: whether the prior is told them.
        more: arguments of a further base class.

    Raises:
        RequestError: the symbols are not real numbers, or the data have no labels.
    """

    shift: Tensor
    scale: Tensor

    plan = MappingProxyType({"lr": 1e-3})

    def __init__(
        self,
        symbols: Symbols,
        draws: bool = True,
        *,
        elementwise: bool = False,
        classes: int = 0,
        labels: bool = False,
        **more: Any,
    ) -> None:
        super().__init__(symbols, classes, labels, **more)
        self.draws, self.elementwise = draws, elementwise
        self.register_buffer("shift", torch.zeros(self.size))
        self.register_buffer("scale", torch.ones(self.size))

    @torch.no_grad()
    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """Compute mean and standard deviation of the codes, and the shares of the labels."""
        super().prepare(model, batch)
        rows = self.drawn(batch).view(-1, *self.symbols.shape)
        channel = {"vector": 1, "tokens": rows.dim() - 1}.get(self.symbols.kind, 1)
        over = [axis for axis in range(rows.dim()) if axis != channel and not (self.elementwise and axis)]
        mean, scale = rows.mean(over, keepdim=True), rows.std(over, correction=0, keepdim=True)
        self.shift.copy_(mean.expand_as(rows[:1]).flatten())
        self.scale.copy_(scale.clamp_min(_LEAST).expand_as(rows[:1]).flatten())

    def standard(self, z: Tensor) -> Tensor:
        """Standardised codes, of flat ones (n, Z)."""
        return (z - self.shift) / self.scale

    def own(self, z: Tensor) -> Tensor:
        """Codes (n, *shape) in their own scale, of standardised ones (n, Z)."""
        return (self.shift + self.scale * z).view(len(z), *self.symbols.shape)
