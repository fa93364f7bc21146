"""Encoders to several grids of tokens, from coarse to fine, and decoders that read them all."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from narrows.core import NO_CONDITION, Condition, TokenLayout
from narrows.nets.axes import as_image, over_leading, to_image
from narrows.nets.conv import ConvGridDecoder, Down, grid_widths, halvings
from narrows.nets.mlp import initialise
from narrows.nets.resnet import ResidualBlock

__all__ = ["PyramidDecoder", "PyramidEncoder", "grids_of", "joined", "resized", "split"]

Grids = Sequence[tuple[int, ...]]


def grids_of(shape: tuple[int, ...], halved: int, levels: int) -> tuple[tuple[int, int], ...]:
    """The grids of an image halved `halved` times and further, from the coarsest of `levels` to the finest.

    Example:
        >>> grids_of((1, 28, 28), 2, 2)
        ((4, 4), (7, 7))
    """
    _, height, across = as_image(shape)
    return tuple(halvings(height, across, halved + levels - 1)[: -levels - 1 : -1])


def split(tokens: Tensor, grids: Grids) -> list[Tensor]:
    """Tokens (B, L, C) as one map per grid, (B, C, h, w).

    Example:
        >>> [tuple(m.shape) for m in split(torch.zeros(2, 5, 3), ((1, 1), (2, 2)))]
        [(2, 3, 1, 1), (2, 3, 2, 2)]
    """
    parts = [tokens[:, part] for part in TokenLayout(tuple(grids)).slices()]
    return [part.mT.unflatten(-1, grid) for part, grid in zip(parts, grids, strict=True)]


def joined(maps: Sequence[Tensor]) -> Tensor:
    """Maps (B, C, h, w) as tokens (B, L, C), map after map, each row by row: the inverse of `split`."""
    return torch.cat([m.flatten(-2).mT for m in maps], 1)


def resized(x: Tensor, grid: tuple[int, ...]) -> Tensor:
    """A map (B, C, h, w) resized to a grid by its nearest values."""
    return F.interpolate(x, grid, mode="nearest")


class PyramidEncoder(nn.Module):
    """Strided convolutions whose last feature maps are returned as tokens, from the coarsest to the finest.

    Args:
        shape: shape of one input.
        channels: channels of a token.
        halved: the number of halvings of the finest grid.
        levels: the number of grids.
        width: channels inside.
        blocks: residual blocks on every map.

    Example:
        >>> PyramidEncoder((1, 8, 8), 3, halved=1, levels=2, width=8, blocks=1)(torch.zeros(2, 1, 8, 8)).shape
        torch.Size([2, 20, 3])
    """

    def __init__(
        self, shape: tuple[int, ...], channels: int, halved: int, levels: int, width: int, blocks: int
    ) -> None:
        super().__init__()
        self.shape = tuple(shape)
        widths = grid_widths(width, halved) or [width]
        first = Down(as_image(shape)[0], widths, stride=2 if halved else 1)
        downs = [first, *(Down(width, (width,)) for _ in range(levels - 1))]
        self.maps = nn.ModuleList(
            nn.Sequential(down, *(ResidualBlock(width) for _ in range(blocks)), nn.SiLU()) for down in downs
        )
        self.outs = nn.ModuleList(nn.Conv2d(width, channels, 1) for _ in downs)
        initialise(self)
        for block in self.modules():
            if isinstance(block, ResidualBlock):
                block.zero_initialise()

    def forward(self, x: Tensor, condition: Condition = NO_CONDITION) -> Tensor:
        """(*samples, B, *shape) -> (*samples, B, L, channels), grid after grid, each row by row."""
        return over_leading(self._run, to_image(x, self.shape), 3)

    def _run(self, x: Tensor) -> Tensor:
        found = list[Tensor]()
        for net, out in zip(self.maps, self.outs, strict=True):
            x = net(x)
            found.append(out(x))
        return joined(found[::-1])


class PyramidDecoder(nn.Module):
    """A convolutional decoder of the maps of all grids, resized to the finest.

    Args:
        channels: channels of a token.
        shape: shape of one output.
        halved: the number of doublings from the finest grid.
        grids: the grids, from coarse to fine.
        width: channels inside.
        blocks: residual blocks on the finest grid.
    """

    def __init__(
        self, channels: int, shape: tuple[int, ...], halved: int, grids: Grids, width: int, blocks: int
    ) -> None:
        super().__init__()
        self.grids = tuple(grids)
        self.net = ConvGridDecoder(len(grids) * channels, shape, halved, width, blocks)

    def forward(self, z: Tensor, condition: Condition = NO_CONDITION) -> Tensor:
        """(*samples, B, L, channels) -> (*samples, B, *shape)."""
        return over_leading(self._run, z, 2)

    def _run(self, z: Tensor) -> Tensor:
        maps = [resized(m, self.grids[-1]) for m in split(z, self.grids)]
        return self.net(joined([torch.cat(maps, 1)]))
