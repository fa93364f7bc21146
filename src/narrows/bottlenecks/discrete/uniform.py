"""Uniform bins between two percentiles of each number of a code."""

from __future__ import annotations

import torch
from torch import Tensor

from narrows.bottlenecks.discrete.quantizer import Quantised, Quantizer, straight_through
from narrows.core import Autoencoder, Batch
from narrows.core.check import number, whole

__all__ = ["UniformQuantizer"]


class UniformQuantizer(Quantizer):
    r"""Each number of a code is rounded to the nearest of K evenly spaced values of its own range.

    .. math:: k_l = \mathrm{round}\Big((K - 1) \frac{c_l - a_l}{b_l - a_l}\Big) \in \{0, \ldots, K - 1\},\qquad
              \hat c_l = a_l + \frac{k_l}{K - 1} (b_l - a_l)

    a and b are percentiles of the training examples, by default the 1st and the 99th. What lies beyond is rounded to
    the outermost value. Nothing is learned by gradient descent; the gradient of the rounding is straight-through.

    Args:
        tokens: how many numbers a code has, L.
        codes: the number of values, K.
        tail: the share of the training examples that lies below a, and above b.

    Raises:
        RequestError: fewer than two values, or `tail` outside [0, 0.5).

    Example:
        >>> bins = UniformQuantizer(2, codes=5)
        >>> code = bins(torch.tensor([[[0.3], [-7.0]]]))
        >>> code.z.flatten().tolist(), bins.to_symbols(code).tolist()
        ([0.5, -1.0], [[3, 0]])
    """

    separate = False  # each number has a range of its own

    low: Tensor
    high: Tensor

    def __init__(self, tokens: int, *, codes: int = 256, tail: float = 0.01) -> None:
        super().__init__(1, 1, whole("codes", codes, low=2), tokens)
        self.tail = number("tail", tail, low=0, high=0.49)
        self.register_buffer("low", -torch.ones(self.tokens, 1))
        self.register_buffer("high", torch.ones(self.tokens, 1))

    @torch.no_grad()
    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """Set the ranges to percentiles of a batch of codes."""
        codes = model.encoder(batch.x, batch.condition).double()
        ends = torch.tensor([self.tail, 1 - self.tail], dtype=codes.dtype, device=codes.device)
        low, high = torch.stack([codes[:, i].quantile(ends, 0) for i in range(self.tokens)], 1)
        self.low.copy_(low)
        self.high.copy_(high)

    def quantize(self, tokens: Tensor) -> Quantised:
        """Replace numbers (B, L, 1) by the nearest values."""
        span = (self.high - self.low).clamp_min(torch.finfo(tokens.dtype).tiny)
        places = (self.codes - 1) * (tokens.detach() - self.low) / span
        indices = places.round().clamp(0, self.codes - 1).long().squeeze(-1)
        return Quantised(straight_through(self.unrounded(tokens), self.vectors(indices)), indices, {})

    def unrounded(self, tokens: Tensor) -> Tensor:
        """The numbers, and those beyond their range at its end."""
        return tokens.clamp(self.low, self.high)

    def vectors(self, indices: Tensor) -> Tensor:
        """The values of indices, (..., L) -> (..., L, 1)."""
        share = indices[..., None].to(self.low) / (self.codes - 1)
        return self.low + share * (self.high - self.low)
