"""Priors over real-valued codes, learned from draws of their posteriors."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import Normal

from narrows.bottlenecks.gaussian.diagonal import diagonal
from narrows.core import Autoencoder, Batch, Code, Prior, Symbols

__all__ = ["DrawnCodes"]


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
        if self.draws and code.q is not None and code.q.event_shape == symbols.shape[1:]:
            if normal is None:
                symbols = code.q.sample()
            else:
                symbols, condition["deviation"] = normal.loc, normal.scale
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
