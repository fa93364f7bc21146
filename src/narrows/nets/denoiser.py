"""Time-conditioned nets for diffusion models and flows."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from narrows.core import Symbols
from narrows.core.check import refuse, whole
from narrows.nets.mlp import initialise
from narrows.nets.vit import Attention

__all__ = ["ArrayDenoiser", "TimeFeatures", "TokenDenoiser", "VectorDenoiser", "denoiser"]

_FREQUENCIES = 32
_FASTEST = 30.0
"""Highest angular frequency; the lowest is 1."""
_GATE = 0.1
"""Initial scale of what the blocks of a transformer add."""
_ALL = slice(None)


class TimeFeatures(nn.Module):
    """Embeds times in [0, 1]: sines and cosines, an MLP, and a linear map of the condition.

    Args:
        width: width of the embedding.
        condition: width G of the condition, 0 for none. A row of zeros means no condition.

    Example:
        >>> TimeFeatures(8)(torch.tensor([0.0, 0.5])).shape
        torch.Size([2, 8])
    """

    rates: Tensor

    def __init__(self, width: int, condition: int = 0) -> None:
        super().__init__()
        rates = _FASTEST ** (torch.arange(_FREQUENCIES) / (_FREQUENCIES - 1))
        self.register_buffer("rates", rates, persistent=False)
        self.net = nn.Sequential(nn.Linear(2 * _FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width))
        initialise(self.net)
        self.tell = nn.Linear(condition, width, bias=False) if condition else None

    def forward(self, t: Tensor, condition: Tensor | None = None) -> Tensor:
        """(...,) -> (..., width), with a condition (..., G)."""
        angles = t[..., None] * self.rates
        features: Tensor = self.net(torch.cat([angles.sin(), angles.cos()], -1))
        return (
            features
            if self.tell is None or condition is None
            else features + self.tell(condition.to(features.dtype))
        )


class _Block(nn.Module):
    """A residual perceptron whose normalised input is scaled and shifted by the time embedding."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulate = nn.Linear(width, 2 * width)
        self.net = nn.Sequential(nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width))
        nn.init.zeros_(self.modulate.weight)
        nn.init.zeros_(self.modulate.bias)
        initialise(self.net)

    def forward(self, h: Tensor, time: Tensor) -> Tensor:
        scale, shift = self.modulate(time).chunk(2, -1)
        out: Tensor = h + self.net(self.norm(h) * (1 + scale) + shift)
        return out


class VectorDenoiser(nn.Module):
    """A residual perceptron over vectors, with the time embedding as input of every block.

    Args:
        size: dimension of a vector, Z.
        width: width of the hidden layers.
        depth: number of blocks.
        condition: width G of the condition, 0 for none.
        outputs: vectors that are put out, one after the other.

    Example:
        >>> VectorDenoiser(3, width=8, depth=1)(torch.zeros(2, 3), torch.zeros(2)).shape
        torch.Size([2, 3])
    """

    def __init__(self, size: int, width: int, depth: int, condition: int = 0, outputs: int = 1) -> None:
        super().__init__()
        self.time = TimeFeatures(whole("width", width), condition)
        self.lead = initialise(nn.Linear(size, width))
        self.blocks = nn.ModuleList(_Block(width) for _ in range(whole("depth", depth)))
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, outputs * size)
        nn.init.normal_(self.out.weight, std=0.02 / math.sqrt(width))
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, t: Tensor, condition: Tensor | None = None) -> Tensor:
        """States (B, Z) at times (B,) -> (B, outputs * Z)."""
        time = self.time(t, condition)
        h = self.lead(x) + time  # keeps the norm away from 0, where layer normalisation is ill-conditioned
        for block in self.blocks:
            h = block(h, time)
        return self.out(self.norm(h))


class _TokenBlock(nn.Module):
    """A transformer block whose normalised inputs are scaled and shifted, and its outputs scaled, by the time."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width, elementwise_affine=False) for _ in range(2))
        self.attention = Attention(width, heads, causal=False)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.modulate = nn.Linear(width, 6 * width)
        for module in (*self.attention.modules(), *self.mlp):
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.zeros_(self.modulate.weight)
        with (
            torch.no_grad()
        ):  # both outputs start at a small scale, not at 0, so that all weights have gradients
            self.modulate.bias.zero_().view(6, width)[[2, 5]] = _GATE

    def forward(self, h: Tensor, time: Tensor, mask: Tensor | None = None) -> Tensor:
        scale, shift, gate, scale2, shift2, gate2 = self.modulate(time).chunk(6, -1)
        h = h + gate * self.attention(self.norms[0](h) * (1 + scale) + shift, mask=mask)
        out: Tensor = h + gate2 * self.mlp(self.norms[1](h) * (1 + scale2) + shift2)
        return out


class TokenDenoiser(nn.Module):
    """A transformer over tokens (DiT), with the time embedding as input of every block.

    Args:
        tokens: number of tokens, L.
        channels: dimension of a token, C.
        width: width of the hidden layers.
        depth: number of blocks.
        heads: number of heads, a divisor of `width`.
        condition: width G of the condition, 0 for none.
        outputs: vectors that are put out for each token, one after the other.

    Raises:
        RequestError: `heads` does not divide `width`.

    Example:
        >>> net = TokenDenoiser(5, 3, width=8, depth=1, heads=2)
        >>> net(torch.zeros(2, 5, 3), torch.zeros(2)).shape
        torch.Size([2, 5, 3])

    Reference:
        Peebles and Xie, Scalable Diffusion Models with Transformers, 2022. arXiv:2212.09748
    """

    def __init__(
        self,
        tokens: int,
        channels: int,
        width: int,
        depth: int,
        heads: int = 4,
        condition: int = 0,
        outputs: int = 1,
    ) -> None:
        super().__init__()
        if whole("width", width) % whole("heads", heads):
            raise refuse("heads", heads, f"a divisor of the width {width}")
        self.time = TimeFeatures(width, condition)
        self.lead = initialise(nn.Linear(channels, width))
        self.place = nn.Parameter(0.02 * torch.randn(tokens, width))
        self.blocks = nn.ModuleList(_TokenBlock(width, heads) for _ in range(whole("depth", depth)))
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, outputs * channels)
        nn.init.normal_(self.out.weight, std=0.02 / math.sqrt(width))
        nn.init.zeros_(self.out.bias)

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        condition: Tensor | None = None,
        *,
        mask: Tensor | None = None,
        places: slice = _ALL,
    ) -> Tensor:
        """States (B, L, C) at times (B,) -> (B, L, outputs * C).

        Args:
            x: the states.
            t: the times, of each row (B,), or of each token (B, L).
            condition: of each row (B, G), or of each token (B, L, G), like the times.
            mask: which tokens (columns) a token (row) attends to, (L, L) bool; all if None.
            places: which of the tokens these are, if not all.
        """
        time = self.time(t, condition)
        time = time if t.dim() == 2 else time[:, None]
        h = self.lead(x) + self.place[places] + time  # away from 0, as in `VectorDenoiser`
        for block in self.blocks:
            h = block(h, time, mask)
        return self.out(self.norm(h))


class ArrayDenoiser(TokenDenoiser):
    """A `TokenDenoiser` over arrays (C, ...), with a token for each place.

    Example:
        >>> net = ArrayDenoiser((3, 4, 4), width=8, depth=1, heads=2)
        >>> net(torch.zeros(2, 3, 4, 4), torch.zeros(2)).shape
        torch.Size([2, 3, 4, 4])
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        width: int,
        depth: int,
        heads: int = 4,
        condition: int = 0,
        outputs: int = 1,
    ) -> None:
        super().__init__(math.prod(shape[1:]), shape[0], width, depth, heads, condition, outputs)

    def forward(self, x: Tensor, t: Tensor, condition: Tensor | None = None, **options: Any) -> Tensor:
        """States (B, C, ...) at times (B,) -> (B, outputs * C, ...)."""
        tokens = super().forward(x.flatten(2).transpose(1, 2), t, condition, **options)
        return tokens.transpose(1, 2).reshape(len(x), -1, *x.shape[2:])


def denoiser(
    symbols: Symbols, width: int, depth: int, heads: int, condition: int = 0, outputs: int = 1
) -> nn.Module:
    """The net for codes of a shape: a perceptron for vectors, a transformer for tokens and arrays.

    With several outputs, these stand one after the other along the channels (of a vector, its numbers).

    Example:
        >>> type(denoiser(Symbols((4,)), 8, 1, 2)).__name__
        'VectorDenoiser'
    """
    if symbols.kind == "vector":
        return VectorDenoiser(symbols.shape[0], width, depth, condition, outputs)
    if symbols.kind == "tokens":
        tokens, channels = symbols.shape
        return TokenDenoiser(tokens, channels, width, depth, heads, condition, outputs)
    return ArrayDenoiser(symbols.shape, width, depth, heads, condition, outputs)
