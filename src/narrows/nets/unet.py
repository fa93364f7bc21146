"""U-Nets between images of the same size, and autoencoders of global tokens made of them."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from narrows.core import NO_CONDITION, Condition
from narrows.core.check import whole
from narrows.nets.axes import as_image, from_image, over_leading, to_image
from narrows.nets.conv import halvings
from narrows.nets.mlp import initialise

__all__ = ["GlobalDecoder", "GlobalEncoder", "UNet"]


class UNet(nn.Module):
    """Convolutions that halve an image several times and double it again, with skip connections.

    Args:
        inputs: channels of the input.
        outputs: channels of the output.
        size: height and width.
        width: channels at full size; twice as many at every smaller one.
        levels: the number of halvings.

    Example:
        >>> UNet(1, 5, (7, 9), width=4, levels=2)(torch.randn(2, 1, 7, 9)).shape
        torch.Size([2, 5, 7, 9])

    Reference:
        Ronneberger, Fischer, Brox, U-Net: Convolutional Networks for Biomedical Image Segmentation, 2015.
        arXiv:1505.04597
    """

    def __init__(self, inputs: int, outputs: int, size: tuple[int, int], width: int, levels: int) -> None:
        super().__init__()
        widths = [whole("width", width) * 2**i for i in range(whole("levels", levels, low=0) + 1)]
        self.sizes = halvings(*size, levels)[-2::-1]
        self.stem = nn.Conv2d(inputs, width, 3, padding=1)
        self.downs = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in itertools.pairwise(widths)
        )
        self.ups = nn.ModuleList(
            nn.ConvTranspose2d(b, a, 4, 2, 1) for a, b in zip(widths[-2::-1], widths[:0:-1], strict=True)
        )
        self.joins = nn.ModuleList(nn.Conv2d(2 * a, a, 3, padding=1) for a in widths[-2::-1])
        self.out = nn.Conv2d(width, outputs, 1)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H, W)."""
        maps = [F.silu(self.stem(x))]
        for down in self.downs:
            maps.append(F.silu(down(maps[-1])))
        x = maps.pop()
        for up, join, (height, across) in zip(self.ups, self.joins, self.sizes, strict=True):
            x = F.silu(up(x)[..., :height, :across])
            x = F.silu(join(torch.cat([x, maps.pop()], 1)))
        return self.out(x)


class GlobalEncoder(nn.Module):
    """A U-Net that makes one map of the whole image per token, and one linear map for all of them.

    Args:
        shape: shape of one input.
        tokens: the number of tokens, T.
        channels: channels of a token.
        width: channels of the U-Net at full size.
        levels: its halvings.

    Example:
        >>> GlobalEncoder((1, 8, 8), 5, 3, width=4, levels=1)(torch.randn(2, 1, 8, 8)).shape
        torch.Size([2, 5, 3])
    """

    def __init__(self, shape: tuple[int, ...], tokens: int, channels: int, width: int, levels: int) -> None:
        super().__init__()
        self.shape = tuple(shape)
        image, height, across = as_image(shape)
        self.net = UNet(image, whole("tokens", tokens), (height, across), width, levels)
        self.shared = initialise(nn.Linear(height * across, whole("channels", channels)))

    def forward(self, x: Tensor, condition: Condition = NO_CONDITION) -> Tensor:
        """(*samples, B, *shape) -> (*samples, B, T, channels)."""
        return self.shared(over_leading(self.net, to_image(x, self.shape), 3).flatten(-2))


class GlobalDecoder(nn.Module):
    """The mirror of `GlobalEncoder`.

    Args:
        shape: shape of one output.
        tokens: the number of tokens, T.
        channels: channels of a token.
        width: channels of the U-Net at full size.
        levels: its halvings.
    """

    def __init__(self, shape: tuple[int, ...], tokens: int, channels: int, width: int, levels: int) -> None:
        super().__init__()
        self.shape = tuple(shape)
        image, *self.size = as_image(shape)
        self.shared = initialise(nn.Linear(channels, self.size[0] * self.size[1]))
        self.net = UNet(tokens, image, (self.size[0], self.size[1]), width, levels)

    def forward(self, z: Tensor, condition: Condition = NO_CONDITION) -> Tensor:
        """(*samples, B, T, channels) -> (*samples, B, *shape)."""
        maps = self.shared(z).unflatten(-1, self.size)
        return from_image(over_leading(self.net, maps, 3), self.shape)
