"""Decoders of token grids whose normalisations are modulated by the tokens themselves."""

from __future__ import annotations

import itertools

from torch import Tensor, nn
from torch.nn import functional as F

from narrows.core import NO_CONDITION, Condition
from narrows.nets.axes import as_image, from_image, over_leading
from narrows.nets.conv import grid_widths, halvings
from narrows.nets.mlp import initialise
from narrows.nets.resnet import group_norm

__all__ = ["ModulatedGridDecoder", "SpatialNorm"]


class SpatialNorm(nn.Module):
    r"""Group normalisation whose gain and shift are linear in a map of tokens.

    .. math:: F' = \phi_\gamma(q)\, \mathrm{GN}(F) + \phi_\beta(q)

    The two maps are convolutions of 1 x 1; q is resized to the size of F by its nearest values. The gain
    starts at 1 for every q.

    Args:
        channels: channels of F.
        width: channels of q.

    Example:
        >>> norm = SpatialNorm(8, 4)
        >>> norm(torch.randn(2, 8, 6, 6), torch.randn(2, 4, 3, 3)).shape
        torch.Size([2, 8, 6, 6])

    Reference:
        Zheng et al., MoVQ: Modulating Quantized Vectors for High-Fidelity Image Generation, 2022, section 3.2.
        arXiv:2209.09002
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(group_norm(channels).num_groups, channels, affine=False)
        self.gain, self.shift = nn.Conv2d(width, channels, 1), nn.Conv2d(width, channels, 1)

    def forward(self, x: Tensor, q: Tensor) -> Tensor:
        """(B, channels, H, W) and (B, width, h, w) -> (B, channels, H, W)."""
        q = F.interpolate(q, x.shape[-2:], mode="nearest")
        return self.gain(q) * self.norm(x) + self.shift(q)

    def begin(self) -> None:
        """Set the gain to 1 for every q, and the shift to random linear maps of q with variance 1."""
        nn.init.zeros_(self.gain.weight)
        nn.init.ones_(self.gain.bias)  # type: ignore[arg-type]
        nn.init.normal_(self.shift.weight, std=self.shift.in_channels**-0.5)
        nn.init.zeros_(self.shift.bias)  # type: ignore[arg-type]


class PlainNorm(nn.Module):
    """Group normalisation, which does not read the tokens."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.norm = group_norm(channels)

    def forward(self, x: Tensor, q: Tensor) -> Tensor:
        """(B, channels, H, W) -> (B, channels, H, W)."""
        return self.norm(x)


class ModulatedBlock(nn.Module):
    """``x + conv(silu(norm(conv(silu(norm(x, q))), q)))``."""

    def __init__(self, channels: int, width: int, norm: type[SpatialNorm | PlainNorm]) -> None:
        super().__init__()
        self.norm1, self.norm2 = norm(channels, width), norm(channels, width)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)  # norm2 would cancel a bias
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, q: Tensor) -> Tensor:
        """(B, channels, H, W) -> (B, channels, H, W)."""
        h = self.conv1(F.silu(self.norm1(x, q)))
        return x + self.conv2(F.silu(self.norm2(h, q)))


class ModulatedGridDecoder(nn.Module):
    """Residual blocks and transposed convolutions from tokens to images, with a norm before every activation.

    Args:
        channels: channels of a token.
        shape: shape of one output.
        levels: the number of doublings.
        width: channels inside.
        blocks: residual blocks on the coarse map.
        modulated: whether the norms are modulated by the tokens, else plain group norms.

    Example:
        >>> ModulatedGridDecoder(4, (3, 8, 8), levels=2, width=16, blocks=1)(torch.randn(5, 4, 4)).shape
        torch.Size([5, 3, 8, 8])
    """

    def __init__(
        self,
        channels: int,
        shape: tuple[int, ...],
        levels: int,
        width: int,
        blocks: int,
        modulated: bool = True,
    ) -> None:
        super().__init__()
        self.shape = tuple(shape)
        image, height, across = as_image(shape)
        *self.sizes, self.grid = halvings(height, across, levels)
        norm = SpatialNorm if modulated else PlainNorm
        self.stem = nn.Conv2d(channels, width, 3, padding=1)
        self.blocks = nn.ModuleList(ModulatedBlock(width, channels, norm) for _ in range(blocks))
        widths = [*grid_widths(width, levels)[::-1], image]
        pairs = list(itertools.pairwise(widths)) if levels else [(width, image)]
        self.norms = nn.ModuleList(norm(before, channels) for before, _ in pairs)
        self.ups = nn.ModuleList(
            nn.ConvTranspose2d(*pair, 4, 2, 1) if levels else nn.Conv2d(*pair, 3, padding=1) for pair in pairs
        )
        self.sizes = self.sizes[::-1] or [self.grid]
        initialise(self)
        for module in self.modules():
            if isinstance(module, SpatialNorm):
                module.begin()
            elif isinstance(module, ModulatedBlock):  # starts as the identity
                nn.init.zeros_(module.conv2.weight)

    def forward(self, z: Tensor, condition: Condition = NO_CONDITION) -> Tensor:
        """(*samples, B, L, channels) -> (*samples, B, *shape)."""
        return from_image(over_leading(self._run, z.mT.unflatten(-1, self.grid), 3), self.shape)

    def _run(self, q: Tensor) -> Tensor:
        x = self.stem(q)
        for block in self.blocks:
            x = block(x, q)
        for norm, up, (height, across) in zip(self.norms, self.ups, self.sizes, strict=True):
            x = up(F.silu(norm(x, q)))[..., :height, :across]
        return x
