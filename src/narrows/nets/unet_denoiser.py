"""A time-conditioned U-Net for codes on a grid."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from narrows.core import Symbols
from narrows.core.check import refuse, whole
from narrows.nets.conv import halvings
from narrows.nets.denoiser import TimeFeatures
from narrows.nets.mlp import initialise

__all__ = ["UNetDenoiser", "unet_denoiser"]

_GROUPS = 8
_SMALLEST = 4
"""Sides below this are not halved."""


class _Block(nn.Module):
    """Two convolutions with group normalisation, the second scaled and shifted by the time embedding, added to h."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        groups = math.gcd(_GROUPS, channels)
        self.norms = nn.ModuleList(nn.GroupNorm(groups, channels) for _ in range(2))
        self.convs = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))
        self.modulate = nn.Linear(width, 2 * channels)
        initialise(self.convs)
        nn.init.zeros_(self.modulate.weight)
        nn.init.zeros_(self.modulate.bias)

    def forward(self, h: Tensor, time: Tensor) -> Tensor:
        scale, shift = self.modulate(time)[..., None, None].chunk(2, 1)
        x = self.convs[0](F.silu(self.norms[0](h)))
        x = F.silu(self.norms[1](x) * (1 + scale) + shift)
        out: Tensor = h + self.convs[1](x)
        return out


class UNetDenoiser(nn.Module):
    """Convolutions over a grid that halve it up to twice and double it again, with the time in every block.

    Args:
        channels: numbers of a place, C.
        size: rows and columns of the grid.
        width: channels at full size, twice as many at each smaller one.
        depth: blocks at each size, on the way down and on the way up.
        condition: width G of the condition, 0 for none.
        tokens: whether states are tokens (B, H W, C), instead of (B, C, H, W).

    Example:
        >>> net = UNetDenoiser(3, (7, 5), width=8, depth=1)
        >>> net(torch.zeros(2, 3, 7, 5), torch.zeros(2)).shape
        torch.Size([2, 3, 7, 5])

    Reference:
        Ho, Jain, Abbeel, Denoising Diffusion Probabilistic Models, 2020, appendix B. arXiv:2006.11239
    """

    def __init__(
        self,
        channels: int,
        size: tuple[int, int],
        width: int,
        depth: int,
        condition: int = 0,
        tokens: bool = False,
    ) -> None:
        super().__init__()
        levels = sum(min(size) / 2**k >= _SMALLEST for k in range(2))
        widths = [whole("width", width) * 2**k for k in range(levels + 1)]
        self.size, self.tokens, self.sizes = size, tokens, halvings(*size, levels)[-2::-1]
        self.time = TimeFeatures(width, condition)
        self.stem = nn.Conv2d(channels, width, 3, padding=1)
        self.downs = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in itertools.pairwise(widths)
        )
        self.ups = nn.ModuleList(
            nn.ConvTranspose2d(b, a, 4, 2, 1) for a, b in zip(widths[-2::-1], widths[:0:-1], strict=True)
        )
        self.joins = nn.ModuleList(nn.Conv2d(2 * a, a, 1) for a in widths[-2::-1])
        for part in (self.stem, self.downs, self.ups, self.joins):
            initialise(part)
        each = range(whole("depth", depth))
        self.before, self.after = (
            nn.ModuleList(nn.ModuleList(_Block(a, width) for _ in each) for a in row)
            for row in (widths, widths[-2::-1])
        )
        self.norm = nn.GroupNorm(math.gcd(_GROUPS, width), width)
        self.out = nn.Conv2d(width, channels, 1)
        nn.init.normal_(self.out.weight, std=0.02 / math.sqrt(width))
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, t: Tensor, condition: Tensor | None = None) -> Tensor:
        """States at times (B,), or at one time for all, (1,): like the states."""
        h, maps = self.stem(x.mT.unflatten(-1, self.size) if self.tokens else x), []
        time = self.time(t, condition)
        for level, blocks in enumerate(self.before):
            h = self.downs[level - 1](h) if level else h
            for block in blocks:  # type: ignore[attr-defined]
                h = block(h, time)
            maps.append(h)
        h = maps.pop()
        for up, join, blocks, (rows, columns) in zip(
            self.ups, self.joins, self.after, self.sizes, strict=True
        ):
            h = join(torch.cat([up(h)[..., :rows, :columns], maps.pop()], 1))
            for block in blocks:  # type: ignore[attr-defined]
                h = block(h, time)
        y = self.out(F.silu(self.norm(h)))
        return y.flatten(2).mT if self.tokens else y


def unet_denoiser(symbols: Symbols, width: int, depth: int, condition: int = 0) -> UNetDenoiser:
    """The U-Net for codes of a grid with rows and columns.

    Raises:
        RequestError: the codes have no such grid.

    Example:
        >>> unet_denoiser(Symbols((4, 7, 7)), 8, 1).size
        (7, 7)
    """
    grids = symbols.layout.grids
    if symbols.kind not in ("tokens", "array") or len(grids) != 1 or len(grids[0]) != 2:
        raise refuse("net", "unet", f"`auto` for {symbols}", "A U-Net reads codes with rows and columns.")
    tokens, (rows, columns) = symbols.kind == "tokens", grids[0]
    channels = symbols.shape[1] if tokens else symbols.shape[0]
    return UNetDenoiser(channels, (rows, columns), width, depth, condition, tokens)
