"""A network of each pixel's predecessors within a window."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from narrows.core.check import refuse, whole

__all__ = ["PixelNet"]


class PixelNet(nn.Module):
    r"""Outputs for each pixel from the pixels before it within a window, and from a conditioning map.

    One masked convolution reads the window; everything after it is a map of each pixel on its own, so that the
    window does not grow with depth. The order is by row, then by column, then by channel: of its own pixel, a
    channel sees the channels before it.

    Args:
        shape: shape of one image, (C, H, W).
        out: number of outputs of each channel of a pixel.
        window: side of the square around a pixel whose earlier pixels are seen, odd; 0 for all earlier pixels, 1
            for none.
        features: width of the hidden layers, and channels of the conditioning map.
        depth: number of residual layers.

    Raises:
        RequestError: a shape that is no image, an even window, or a number out of range.

    Example:
        >>> PixelNet((1, 8, 8), 1)(torch.zeros(2, 1, 8, 8), torch.zeros(2, 32, 8, 8)).shape
        torch.Size([2, 1, 8, 8])
    """

    mask: Tensor

    def __init__(
        self, shape: tuple[int, ...], out: int, window: int = 5, features: int = 32, depth: int = 2
    ) -> None:
        super().__init__()
        if len(shape) != 3:
            fix = "Other data have other autoregressive methods: `vrnn` for series, `autogen` for texts."
            raise refuse("spec", tuple(shape), "the shape of an image, (C, H, W)", fix)
        if whole("window", window, low=0) and window % 2 == 0:
            raise refuse("window", window, "an odd number of pixels, or 0 for all", "Try window=5.")
        self.channels, height, width = shape
        reach = max(height, width) - 1 if window == 0 else window // 2
        self.up, self.side = min(reach, height - 1), min(reach, width - 1)
        self.features, self.out = whole("features", features), whole("out", out)
        self.window = nn.Conv2d(
            self.channels, self.channels * features, (self.up + 1, 2 * self.side + 1), bias=False
        )
        self.layers = nn.ModuleList(self._own(features) for _ in range(whole("depth", depth, low=0)))
        self.head = self._own(out)
        self.register_buffer("mask", self._mask(), persistent=False)

    def _own(self, out: int) -> nn.Conv2d:
        """A layer that reads the features of a pixel and a channel alone."""
        return nn.Conv2d(self.channels * self.features, self.channels * out, 1, groups=self.channels)

    def _mask(self) -> Tensor:
        """1 for the weights of earlier values, (C * features, C, up + 1, 2 * side + 1)."""
        mask = torch.ones(self.channels, self.channels, self.up + 1, 2 * self.side + 1)
        mask[:, :, -1, self.side :] = 0
        mask[:, :, -1, self.side] = torch.ones(self.channels, self.channels).tril(-1)
        return mask.repeat_interleave(self.features, 0)

    @property
    def kernel(self) -> Tensor:
        """The masked weights of the window, (C * features, C, up + 1, 2 * side + 1)."""
        return self.window.weight * self.mask

    def padded(self, x: Tensor) -> Tensor:
        """Images with zeros at the sides and above, where no pixels are."""
        return F.pad(x, (self.side, self.side, self.up, 0))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Outputs (N, C * out, H, W), by channel, of images (N, C, H, W) and maps (N, features, H, W)."""
        h = F.conv2d(self.padded(x), self.kernel) + condition.repeat(1, self.channels, 1, 1)
        for layer in self.layers:
            h = h + layer(F.silu(h))
        y: Tensor = self.head(F.silu(h))
        return y

    def at(self, patch: Tensor, condition: Tensor, kernel: Tensor, channel: int) -> Tensor:
        """The outputs of one pixel and channel, (N, out).

        Args:
            patch: the window of the pixel in padded images, (N, C, up + 1, 2 * side + 1).
            condition: the map at the pixel, (N, features).
            kernel: `kernel`, computed once for all pixels.
            channel: the channel.
        """
        own = slice(channel * self.features, (channel + 1) * self.features)
        h = F.linear(patch.flatten(1), kernel[own].flatten(1)) + condition
        for layer in self.layers:
            h = h + self._linear(layer, h, channel)
        return self._linear(self.head, h, channel)

    def _linear(self, layer: nn.Module, h: Tensor, channel: int) -> Tensor:
        assert isinstance(layer, nn.Conv2d)
        assert layer.bias is not None
        size = layer.out_channels // self.channels
        own = slice(channel * size, (channel + 1) * size)
        return F.linear(F.silu(h), layer.weight[own].flatten(1), layer.bias[own])
