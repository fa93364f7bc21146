"""Convolutional encoders and decoders for images of any size, plain or with residual blocks.

Every level halves the image, rounding up; the decoder doubles it and crops, so that the output has the exact
size of the input, whatever that is. Vectors and sequences are treated as images of one row.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from torch import Tensor, nn

from narrows.core import NO_CONDITION, NO_WIDTHS, Condition, Widths
from narrows.nets.axes import as_image, from_image, join, join_planes, over_leading, to_image
from narrows.nets.mlp import dense_layers, initialise
from narrows.nets.resnet import ResidualBlock

__all__ = [
    "ConvDecoder",
    "ConvEncoder",
    "ConvGridDecoder",
    "ConvGridEncoder",
    "Down",
    "Up",
    "grid_widths",
    "halvings",
]

HEAD = 256
"""Width of the dense layer between the last feature map and the code."""


def halvings(height: int, width: int, levels: int) -> list[tuple[int, int]]:
    """The sizes of an image halved `levels` times, rounding up, starting with the full size.

    Example:
        >>> halvings(28, 5, 2)
        [(28, 5), (14, 3), (7, 2)]
    """
    return [(math.ceil(height / 2**i), math.ceil(width / 2**i)) for i in range(levels + 1)]


def _finish(module: nn.Module) -> None:
    """Initialise a network; residual blocks start as identities."""
    initialise(module)
    for block in module.modules():
        if isinstance(block, ResidualBlock):
            block.zero_initialise()


class Down(nn.Sequential):
    """Strided convolutions, one per level, each followed by residual blocks and SiLU.

    Args:
        channels: channels of the image.
        widths: channels after each level.
        blocks: residual blocks per level.
        stride: 2, or 1 to keep the size.
    """

    def __init__(self, channels: int, widths: Sequence[int], blocks: int = 0, stride: int = 2) -> None:
        layers: list[nn.Module] = []
        for before, width in zip((channels, *widths[:-1]), widths, strict=True):
            layers.append(nn.Conv2d(before, width, 3, stride=stride, padding=1))
            layers += [ResidualBlock(width) for _ in range(blocks)]
            layers.append(nn.SiLU())
        super().__init__(*layers)


class Up(nn.Module):
    """Transposed convolutions, one per level, cropped to the sizes of `Down`.

    Args:
        widths: channels from the coarsest map to the finest, the image's own last.
        sizes: sizes from the second coarsest to the image's.
        blocks: residual blocks before each level.
    """

    def __init__(self, widths: Sequence[int], sizes: Sequence[tuple[int, int]], blocks: int = 0) -> None:
        super().__init__()
        self.sizes = list(sizes)
        self.levels = nn.ModuleList()
        for before, after in itertools.pairwise(widths):
            inside = [ResidualBlock(before) for _ in range(blocks)]
            # kernel 4 with stride 2: every output pixel has the same number of taps, so no checkerboard
            self.levels.append(nn.Sequential(*inside, nn.SiLU(), nn.ConvTranspose2d(before, after, 4, 2, 1)))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C', H, W)."""
        for level, (height, width) in zip(self.levels, self.sizes, strict=True):
            x = level(x)[..., :height, :width]
        return x


class ConvEncoder(nn.Module):
    """Strided convolutions, a dense layer, and the output layer.

    Args:
        shape: shape of one input.
        out: width of the output.
        hidden: channels of each level, starting at the image.
        condition: widths of the conditions by name, appended as constant channels.
        blocks: residual blocks per level; 0 is a plain convolutional net.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        out: int,
        hidden: Sequence[int],
        condition: Widths = NO_WIDTHS,
        blocks: int = 0,
    ) -> None:
        super().__init__()
        self.shape, self.condition = tuple(shape), dict(condition)
        channels, height, width = as_image(shape)
        h, w = halvings(height, width, len(hidden))[-1]
        self.down = Down(channels + sum(condition.values()), hidden, blocks)
        _finish(self.down)
        self.head = dense_layers((hidden[-1] * h * w, HEAD, out))

    def forward(self, x: Tensor, condition: Condition = NO_CONDITION) -> Tensor:
        """(*samples, B, *shape) -> (*samples, B, out)."""
        return over_leading(self._run, join_planes(to_image(x, self.shape), condition, self.condition), 3)

    def _run(self, x: Tensor) -> Tensor:
        return self.head(self.down(x).flatten(1))


class ConvDecoder(nn.Module):
    """The mirror of `ConvEncoder`.

    Args:
        z: width of the code.
        shape: shape of one output.
        hidden: channels of each level, starting at the image, as for the encoder.
        condition: widths of the conditions by name, appended to the code.
        blocks: residual blocks per level.
    """

    def __init__(
        self,
        z: int,
        shape: tuple[int, ...],
        hidden: Sequence[int],
        condition: Widths = NO_WIDTHS,
        blocks: int = 0,
    ) -> None:
        super().__init__()
        self.shape, self.condition = tuple(shape), dict(condition)
        channels, height, width = as_image(shape)
        sizes = halvings(height, width, len(hidden))[::-1]
        self.coarse = (hidden[-1], *sizes[0])
        self.stem = dense_layers((z + sum(condition.values()), HEAD, math.prod(self.coarse)))
        self.between = nn.SiLU()
        self.up = Up((*hidden[::-1], channels), sizes[1:], blocks)
        _finish(self.up)

    def forward(self, z: Tensor, condition: Condition = NO_CONDITION) -> Tensor:
        """(*samples, B, z) -> (*samples, B, *shape)."""
        return from_image(over_leading(self._run, join(z, condition, self.condition), 1), self.shape)

    def _run(self, z: Tensor) -> Tensor:
        return self.up(self.stem(z).unflatten(-1, self.coarse))


def grid_widths(width: int, levels: int) -> list[int]:
    """Channels after each level: half of `width` at the first of several levels, whose map is the largest.

    Example:
        >>> grid_widths(64, 2)
        [32, 64]
    """
    return [max(8, width // 2)] * (levels > 1) + [width] * (levels - (levels > 1))


class ConvGridEncoder(nn.Module):
    """Strided convolutions whose last feature map is returned as tokens.

    Args:
        shape: shape of one input.
        channels: channels of a token.
        levels: the number of halvings.
        width: channels inside.
        blocks: residual blocks on the last map.
    """

    def __init__(self, shape: tuple[int, ...], channels: int, levels: int, width: int, blocks: int) -> None:
        super().__init__()
        self.shape = tuple(shape)
        image, height, across = as_image(shape)
        self.grid = halvings(height, across, levels)[-1]
        widths = grid_widths(width, levels) or [width]
        down = Down(image, widths, stride=2 if levels else 1)
        refine = [ResidualBlock(widths[-1]) for _ in range(blocks)]
        self.net = nn.Sequential(down, *refine, nn.SiLU(), nn.Conv2d(widths[-1], channels, 1))
        _finish(self.net)

    def forward(self, x: Tensor, condition: Condition = NO_CONDITION) -> Tensor:
        """(*samples, B, *shape) -> (*samples, B, L, channels), row by row."""
        return over_leading(self.net, to_image(x, self.shape), 3).flatten(-2).mT


class ConvGridDecoder(nn.Module):
    """The mirror of `ConvGridEncoder`.

    Args:
        channels: channels of a token.
        shape: shape of one output.
        levels: the number of doublings.
        width: channels inside.
        blocks: residual blocks on the coarse map.
    """

    def __init__(self, channels: int, shape: tuple[int, ...], levels: int, width: int, blocks: int) -> None:
        super().__init__()
        self.shape = tuple(shape)
        image, height, across = as_image(shape)
        sizes = halvings(height, across, levels)[::-1]
        self.grid = sizes[0]
        refine = [ResidualBlock(width) for _ in range(blocks)]
        last: nn.Module = Up((*grid_widths(width, levels)[::-1], image), sizes[1:])
        if not levels:
            last = nn.Sequential(nn.SiLU(), nn.Conv2d(width, image, 3, padding=1))
        self.net = nn.Sequential(nn.Conv2d(channels, width, 3, padding=1), *refine, last)
        _finish(self.net)

    def forward(self, z: Tensor, condition: Condition = NO_CONDITION) -> Tensor:
        """(*samples, B, L, channels) -> (*samples, B, *shape)."""
        return from_image(over_leading(self.net, z.mT.unflatten(-1, self.grid), 3), self.shape)
