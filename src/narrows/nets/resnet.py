"""Residual blocks for images."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["ResidualBlock", "group_norm"]


def group_norm(channels: int) -> nn.GroupNorm:
    """Group normalisation with about 8 channels per group, independent of the batch."""
    return nn.GroupNorm(math.gcd(channels, max(1, channels // 8)), channels)


class ResidualBlock(nn.Module):
    """``x + conv(silu(norm(conv(silu(norm(x))))))``, with the second convolution initialised at zero.

    Args:
        channels: channels in and out.

    Reference:
        He et al.: Identity Mappings in Deep Residual Networks, 2016, https://arxiv.org/abs/1603.05027
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = group_norm(channels), group_norm(channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)  # norm2 would cancel a bias
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        h = self.conv1(F.silu(self.norm1(x)))
        return x + self.conv2(F.silu(self.norm2(h)))

    def zero_initialise(self) -> None:
        """Initialise the block as the identity."""
        nn.init.zeros_(self.conv2.weight)
