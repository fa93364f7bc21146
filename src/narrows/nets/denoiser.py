"""Nets that read a state and a time: what diffusions and flows are made of. No word of latents here."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from narrows.core.check import refuse, whole
from narrows.nets.mlp import initialise
from narrows.nets.vit import TransformerBlocks

__all__ = ["TimeFeatures", "TokenDenoiser", "VectorDenoiser"]

_FREQUENCIES = 32
_FASTEST = 30.0
"""Angle of the fastest sine at t = 1; the slowest has the angle 1."""


class TimeFeatures(nn.Module):
    """Times in [0, 1] to vectors: sines and cosines through two linear maps, with what else the net is told.

    Args:
        width: of the vectors.
        told: width G of what is told, 0 for nothing. A row of zeros says nothing.

    Example:
        >>> TimeFeatures(8)(torch.tensor([0.0, 0.5])).shape
        torch.Size([2, 8])
    """

    rates: Tensor

    def __init__(self, width: int, told: int = 0) -> None:
        super().__init__()
        rates = _FASTEST ** (torch.arange(_FREQUENCIES) / (_FREQUENCIES - 1))
        self.register_buffer("rates", rates, persistent=False)
        self.net = nn.Sequential(nn.Linear(2 * _FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width))
        initialise(self.net)
        self.tell = nn.Linear(told, width, bias=False) if told else None

    def forward(self, t: Tensor, told: Tensor | None = None) -> Tensor:
        """(B,) -> (B, width)."""
        angles = t[:, None] * self.rates
        features: Tensor = self.net(torch.cat([angles.sin(), angles.cos()], -1))
        return (
            features if self.tell is None or told is None else features + self.tell(told.to(features.dtype))
        )


class _Block(nn.Module):
    """A residual perceptron whose normalised input is scaled and shifted by the time."""

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
    """A residual perceptron over vectors, told the time in every block.

    Args:
        size: numbers of a vector, Z.
        width: channels inside.
        depth: number of blocks.
        told: width G of what else it is told.

    Example:
        >>> VectorDenoiser(3, width=8, depth=1)(torch.zeros(2, 3), torch.zeros(2)).shape
        torch.Size([2, 3])
    """

    def __init__(self, size: int, width: int, depth: int, told: int = 0) -> None:
        super().__init__()
        self.time = TimeFeatures(whole("width", width), told)
        self.lead = initialise(nn.Linear(size, width))
        self.blocks = nn.ModuleList(_Block(width) for _ in range(whole("depth", depth)))
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, size)
        nn.init.normal_(self.out.weight, std=0.02 / math.sqrt(width))
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, t: Tensor, told: Tensor | None = None) -> Tensor:
        """States (B, Z) at times (B,) -> (B, Z)."""
        time = self.time(t, told)
        h = self.lead(x) + time  # never near 0, where a normalisation is steep
        for block in self.blocks:
            h = block(h, time)
        return self.out(self.norm(h))


class TokenDenoiser(nn.Module):
    """A transformer over tokens, told the time in every token.

    Args:
        tokens: how many tokens, L.
        channels: numbers of a token, C.
        width: channels inside.
        depth: number of blocks.
        heads: number of heads, a divisor of `width`.
        told: width G of what else it is told.

    Example:
        >>> net = TokenDenoiser(5, 3, width=8, depth=1, heads=2)
        >>> net(torch.zeros(2, 5, 3), torch.zeros(2)).shape
        torch.Size([2, 5, 3])
    """

    def __init__(
        self, tokens: int, channels: int, width: int, depth: int, heads: int = 4, told: int = 0
    ) -> None:
        super().__init__()
        if whole("width", width) % whole("heads", heads):
            raise refuse("heads", heads, f"a divisor of the width {width}")
        self.time = TimeFeatures(width, told)
        self.lead = initialise(nn.Linear(channels, width))
        self.place = nn.Parameter(0.02 * torch.randn(tokens, width))
        self.blocks = TransformerBlocks(width, whole("depth", depth), heads)
        self.out = nn.Linear(width, channels)
        nn.init.normal_(self.out.weight, std=0.02 / math.sqrt(width))
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, t: Tensor, told: Tensor | None = None) -> Tensor:
        """States (B, L, C) at times (B,) -> (B, L, C)."""
        h = self.lead(x) + self.place + self.time(t, told)[:, None]
        return self.out(self.blocks(h))
