"""Vision transformers: patches, blocks, and encoders and decoders made of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from narrows.core import NO_CONDITION, NO_WIDTHS, Condition, Widths
from narrows.core.check import refuse, whole
from narrows.nets.axes import as_image, from_image, join, over_leading, to_image, told
from narrows.nets.mlp import initialise

__all__ = [
    "Patches",
    "Sizes",
    "TransformerBlocks",
    "ViTDecoder",
    "ViTEncoder",
    "ViTGridDecoder",
    "ViTGridEncoder",
    "positions",
]


@dataclass(frozen=True)
class Sizes:
    """Sizes of a transformer.

    Args:
        width: channels of a token inside.
        depth: number of blocks.
        heads: number of heads, a divisor of `width`.
    """

    width: int = 64
    depth: int = 2
    heads: int = 4


class Patches(nn.Module):
    """Cut an example into equal patches and put it together again.

    An image whose sides are no multiples of the patch is padded with zeros below and to the right, and cropped
    again. A vector is cut into runs of `patch` numbers, a sequence into runs of `patch` steps.

    Args:
        shape: shape of one example.
        patch: side of a patch, in pixels.

    Example:
        >>> cut = Patches((1, 5, 7), 4)
        >>> x = torch.rand(2, 1, 5, 7)
        >>> cut(x).shape, torch.equal(cut.join(cut(x)), x)
        (torch.Size([2, 4, 16]), True)
    """

    def __init__(self, shape: tuple[int, ...], patch: int) -> None:
        super().__init__()
        self.shape, self.patch = tuple(shape), whole("patch", patch)
        self.channels, self.height, self.across = as_image(shape)
        self.sides = (min(patch, self.height), min(patch, self.across))
        self.grid = (math.ceil(self.height / self.sides[0]), math.ceil(self.across / self.sides[1]))
        self.count = self.grid[0] * self.grid[1]
        """How many patches, L."""
        self.width = self.channels * self.sides[0] * self.sides[1]
        """How many numbers a patch has."""
        below = self.grid[0] * self.sides[0] - self.height
        right = self.grid[1] * self.sides[1] - self.across
        self.padding = (0, right, 0, below)

    def forward(self, x: Tensor) -> Tensor:
        """(*lead, *shape) -> (*lead, L, width); within a patch: channel, row, column."""
        image = to_image(x, self.shape)
        if any(self.padding):
            image = F.pad(image, self.padding)
        tiles = image.unflatten(-2, (self.grid[0], self.sides[0])).unflatten(
            -1, (self.grid[1], self.sides[1])
        )
        return tiles.movedim((-4, -2), (-5, -4)).flatten(-3).flatten(-3, -2)

    def join(self, patches: Tensor) -> Tensor:
        """(*lead, L, width) -> (*lead, *shape): the inverse."""
        tiles = patches.unflatten(-1, (self.channels, *self.sides)).unflatten(-4, self.grid)
        image = tiles.movedim((-5, -4), (-4, -2)).flatten(-4, -3).flatten(-2)
        return from_image(image[..., : self.height, : self.across], self.shape)

    def inside(self) -> Tensor:
        """Which numbers of each patch lie inside the example and not in its padding, (L, width) of bool."""
        image = torch.ones(self.channels, self.height, self.across)
        return self(from_image(image, self.shape)) > 0


def positions(grid: tuple[int, int], width: int) -> Tensor:
    """Fixed sine-cosine positions of a grid, (L, width): half of the channels tell the row, half the column.

    Args:
        grid: rows and columns.
        width: channels, a multiple of 4.

    Raises:
        RequestError: a width that is no multiple of 4.

    Example:
        >>> positions((2, 3), 8).shape
        torch.Size([6, 8])
    """
    if width % 4:
        raise refuse(
            "width", width, "a multiple of 4", "Sines and cosines of rows and columns share the channels."
        )
    frequency = 1e4 ** (-torch.arange(width // 4) / (width // 4))
    rows, columns = torch.meshgrid(torch.arange(grid[0]), torch.arange(grid[1]), indexing="ij")
    angles = [place.flatten()[:, None] * frequency for place in (rows, columns)]
    return torch.cat([f(a) for a in angles for f in (torch.sin, torch.cos)], -1)


class Attention(nn.Module):
    """Multi-head self-attention, causal or not.

    Args:
        width: channels of a token.
        heads: number of heads, a divisor of the width.
        causal: a token sees only itself and those before it.
    """

    def __init__(self, width: int, heads: int, causal: bool) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.qkv = nn.Linear(width, 3 * width, bias=False)  # softmax is blind to a bias of the keys
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, before: list[Tensor] | None = None) -> Tensor:
        """(B, L, width) -> (B, L, width); `before`, where given, holds the keys and values of earlier tokens."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        if before is not None:
            if before:
                k, v = torch.cat([before[0], k], -2), torch.cat([before[1], v], -2)
            before[:] = [k, v]
        y = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal and x.shape[-2] > 1)
        return self.out(y.transpose(1, 2).flatten(-2))


class Block(nn.Module):
    """``x + attention(norm(x))``, then ``x + mlp(norm(x))``."""

    def __init__(self, width: int, heads: int, causal: bool, ratio: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads, causal)
        self.mlp = nn.Sequential(nn.Linear(width, ratio * width), nn.GELU(), nn.Linear(ratio * width, width))

    def forward(self, x: Tensor, before: list[Tensor] | None = None) -> Tensor:
        """(B, L, width) -> (B, L, width)."""
        x = x + self.attention(self.norm1(x), before)
        return x + self.mlp(self.norm2(x))


class TransformerBlocks(nn.Module):
    """A stack of pre-norm transformer blocks and a last normalisation.

    Args:
        width: channels of a token.
        depth: number of blocks.
        heads: number of heads, a divisor of `width`.
        causal: a token sees only itself and those before it.
        ratio: hidden width of the perceptrons over `width`.

    Raises:
        RequestError: `heads` does not divide `width`.

    Example:
        >>> TransformerBlocks(8, depth=1, heads=2)(torch.ones(3, 5, 8)).shape
        torch.Size([3, 5, 8])

    Reference:
        Dosovitskiy et al.: An Image is Worth 16x16 Words, 2021, https://arxiv.org/abs/2010.11929
    """

    def __init__(self, width: int, depth: int, heads: int = 4, causal: bool = False, ratio: int = 4) -> None:
        super().__init__()
        if whole("width", width) % whole("heads", heads):
            raise refuse("heads", heads, f"a divisor of the width {width}")
        self.blocks = nn.ModuleList(
            Block(width, heads, causal, ratio) for _ in range(whole("depth", depth, low=0))
        )
        self.norm = nn.LayerNorm(width)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x: Tensor, before: list[list[Tensor]] | None = None) -> Tensor:
        """(B, L, width) -> (B, L, width).

        Args:
            x: tokens.
            before: for causal blocks that are fed one token at a time, an empty list for each block at first: the
                keys and values of the tokens so far are kept there.
        """
        for i, block in enumerate(self.blocks):
            x = block(x, None if before is None else before[i])
        return self.norm(x)


class ViTGridEncoder(nn.Module):
    """Patches through transformer blocks: a token a patch.

    Args:
        shape: shape of one input.
        channels: channels of a token at the end.
        patch: side of a patch.
        sizes: of the transformer.
        condition: what both sides are told, by name, and how many numbers each has, added to every token.
    """

    place: Tensor

    def __init__(
        self,
        shape: tuple[int, ...],
        channels: int,
        patch: int,
        sizes: Sizes,
        condition: Widths = NO_WIDTHS,
    ) -> None:
        super().__init__()
        width = sizes.width
        self.cut, self.condition = Patches(shape, patch), dict(condition)
        self.grid = self.cut.grid
        self.embed = initialise(nn.Linear(self.cut.width, width))
        self.tell = nn.Linear(sum(condition.values()), width, bias=False) if condition else None
        self.register_buffer("place", positions(self.grid, width), persistent=False)
        self.blocks = TransformerBlocks(width, sizes.depth, sizes.heads)
        self.out = initialise(nn.Linear(width, channels))

    def forward(self, x: Tensor, condition: Condition = NO_CONDITION) -> Tensor:
        """(*samples, B, *shape) -> (*samples, B, L, channels)."""
        tokens = self.embed(self.cut(x)) + self.place
        more = told(condition, self.condition)
        if self.tell is not None and more is not None:
            tokens = tokens + self.tell(more.to(tokens.dtype)).unsqueeze(-2)
        return over_leading(lambda t: self.out(self.blocks(t)), tokens, 2)


class ViTGridDecoder(nn.Module):
    """Tokens through transformer blocks and back to patches: the mirror of `ViTGridEncoder`.

    Args:
        channels: channels of a token.
        shape: shape of one output.
        patch: side of a patch.
        sizes: of the transformer.
        extra: tokens before those of the patches (a class token): seen by the blocks, without a place or an output.
    """

    place: Tensor

    def __init__(
        self, channels: int, shape: tuple[int, ...], patch: int, sizes: Sizes, extra: int = 0
    ) -> None:
        super().__init__()
        width = sizes.width
        self.cut, self.extra = Patches(shape, patch), extra
        self.grid = self.cut.grid
        self.embed = initialise(nn.Linear(channels, width))
        place = torch.cat([torch.zeros(extra, width), positions(self.grid, width)])
        self.register_buffer("place", place, persistent=False)
        self.blocks = TransformerBlocks(width, sizes.depth, sizes.heads)
        self.out = initialise(nn.Linear(width, self.cut.width))

    def forward(self, z: Tensor, condition: Condition = NO_CONDITION) -> Tensor:
        """(*samples, B, extra + L, channels) -> (*samples, B, *shape)."""
        tokens = self.embed(z) + self.place
        return self.cut.join(over_leading(lambda t: self.out(self.blocks(t)[:, self.extra :]), tokens, 2))


class ViTEncoder(nn.Module):
    """A transformer over patches, its tokens averaged.

    Args:
        shape: shape of one input.
        out: width of the output.
        patch: side of a patch.
        sizes: of the transformer.
        condition: what both sides are told, by name, and how many numbers each has.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        out: int,
        patch: int,
        sizes: Sizes,
        condition: Widths = NO_WIDTHS,
    ) -> None:
        super().__init__()
        self.tokens = ViTGridEncoder(shape, sizes.width, patch, sizes, condition)
        self.out = initialise(nn.Linear(sizes.width, out))

    def forward(self, x: Tensor, condition: Condition = NO_CONDITION) -> Tensor:
        """(*samples, B, *shape) -> (*samples, B, out)."""
        return self.out(self.tokens(x, condition).mean(-2))


class ViTDecoder(nn.Module):
    """The code as every patch's token, told apart by position, through a transformer to patches.

    Args:
        z: width of the code.
        shape: shape of one output.
        patch: side of a patch.
        sizes: of the transformer.
        condition: what both sides are told, by name, and how many numbers each has, appended to the code.
    """

    def __init__(
        self,
        z: int,
        shape: tuple[int, ...],
        patch: int,
        sizes: Sizes,
        condition: Widths = NO_WIDTHS,
    ) -> None:
        super().__init__()
        self.condition, width = dict(condition), sizes.width
        self.patches = ViTGridDecoder(width, shape, patch, sizes)
        self.spread = initialise(nn.Linear(z + sum(condition.values()), self.patches.cut.count * width))
        self.split = (self.patches.cut.count, width)

    def forward(self, z: Tensor, condition: Condition = NO_CONDITION) -> Tensor:
        """(*samples, B, z) -> (*samples, B, *shape)."""
        return self.patches(self.spread(join(z, condition, self.condition)).unflatten(-1, self.split))
