"""Vision transformers: patches, blocks, and encoders and decoders made of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from narrows.core import NO_CONDITION, NO_WIDTHS, Condition, Widths
from narrows.core.check import refuse, whole
from narrows.nets.axes import as_image, condition_vector, from_image, join, over_leading, to_image
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
    """Divides an example into equal patches, and reassembles it.

    An image whose sides are not multiples of the patch is padded with zeros below and to the right, and
    cropped again. A vector is divided into runs of `patch` values, a sequence into runs of `patch` steps.

    Args:
        shape: shape of one example.
        patch: side of a patch, in pixels.

    Example:
        >>> patchify = Patches((1, 5, 7), 4)
        >>> x = torch.rand(2, 1, 5, 7)
        >>> patchify(x).shape, torch.equal(patchify.join(patchify(x)), x)
        (torch.Size([2, 4, 16]), True)
    """

    def __init__(self, shape: tuple[int, ...], patch: int) -> None:
        super().__init__()
        self.shape, self.patch = tuple(shape), whole("patch", patch)
        self.channels, self.height, self.across = as_image(shape)
        self.sides = (min(patch, self.height), min(patch, self.across))
        self.grid = (math.ceil(self.height / self.sides[0]), math.ceil(self.across / self.sides[1]))
        self.count = self.grid[0] * self.grid[1]
        """Number of patches, L."""
        self.width = self.channels * self.sides[0] * self.sides[1]
        """Number of values of a patch."""
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
        """Mask of the values of each patch that are not padding, (L, width) bool."""
        image = torch.ones(self.channels, self.height, self.across)
        return self(from_image(image, self.shape)) > 0


def positions(grid: tuple[int, int], width: int) -> Tensor:
    """Fixed sine-cosine positional embeddings of a grid, (L, width): half for rows, half for columns.

    Args:
        grid: rows and columns.
        width: channels, a multiple of 4.

    Raises:
        RequestError: the width is not a multiple of 4.

    Example:
        >>> positions((2, 3), 8).shape
        torch.Size([6, 8])
    """
    if width % 4:
        raise refuse(
            "width", width, "a multiple of 4", "It is divided into sines and cosines of rows and columns."
        )
    frequency = 1e4 ** (-torch.arange(width // 4) / (width // 4))
    rows, columns = torch.meshgrid(torch.arange(grid[0]), torch.arange(grid[1]), indexing="ij")
    angles = [index.flatten()[:, None] * frequency for index in (rows, columns)]
    return torch.cat([f(a) for a in angles for f in (torch.sin, torch.cos)], -1)


class Attention(nn.Module):
    """Multi-head self-attention, causal or not.

    Args:
        width: channels of a token.
        heads: number of heads, a divisor of the width.
        causal: a token attends only to itself and earlier tokens.
    """

    def __init__(self, width: int, heads: int, causal: bool) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.qkv = nn.Linear(width, 3 * width, bias=False)  # softmax is invariant to a bias of the keys
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, before: list[Tensor] | None = None, mask: Tensor | None = None) -> Tensor:
        """(B, L, width) -> (B, L, width); `before` is an optional cache of keys and values, `mask` (..., L, L) bool."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        if before is not None:
            k, v = _appended(before, k, v)
        causal = self.causal and x.shape[-2] > 1
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal and mask is None)
        return self.out(y.transpose(1, 2).flatten(-2))

    def keys_and_values(self, x: Tensor) -> list[Tensor]:
        """The keys and values of tokens (B, L, width), each (B, heads, L, width / heads), as a cache has them."""
        width = x.shape[-1]
        pair = F.linear(x, self.qkv.weight[width:]).unflatten(-1, (2, self.heads, -1))
        return list(pair.permute(2, 0, 3, 1, 4))


def _appended(before: list[Tensor], k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """All keys and values so far, (B, heads, L, width / heads) each, which the cache `before` keeps.

    It also keeps longer arrays of which they are parts, so that a step does not copy what was there; with gradients,
    which would not allow that, it does.
    """
    length = before[0].shape[-2] if before else 0
    end = length + k.shape[-2]
    if torch.is_grad_enabled():
        before[:] = (
            [torch.cat([old, new], -2) for old, new in zip(before, (k, v), strict=True)] if before else [k, v]
        )
        return before[0], before[1]
    rooms = before[2:]
    if not rooms or end > rooms[0].shape[-2]:
        rooms = [new.new_empty(*new.shape[:-2], 2 * end, new.shape[-1]) for new in (k, v)]
        for room, old in zip(rooms, before[:2], strict=False):
            room[..., :length, :] = old
    for room, new in zip(rooms, (k, v), strict=True):
        room[..., length:end, :] = new
    before[:] = [*(room[..., :end, :] for room in rooms), *rooms]
    return before[0], before[1]


class Block(nn.Module):
    """``x + attention(norm(x))``, then ``x + mlp(norm(x))``."""

    def __init__(self, width: int, heads: int, causal: bool, ratio: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads, causal)
        self.mlp = nn.Sequential(nn.Linear(width, ratio * width), nn.GELU(), nn.Linear(ratio * width, width))

    def forward(self, x: Tensor, before: list[Tensor] | None = None, mask: Tensor | None = None) -> Tensor:
        """(B, L, width) -> (B, L, width)."""
        x = x + self.attention(self.norm1(x), before, mask)
        return x + self.mlp(self.norm2(x))

    def keys_and_values(self, x: Tensor) -> list[Tensor]:
        """The keys and values of tokens (B, L, width) in this block."""
        return self.attention.keys_and_values(self.norm1(x))


class TransformerBlocks(nn.Module):
    """A stack of pre-norm transformer blocks and a final layer normalisation.

    Args:
        width: channels of a token.
        depth: number of blocks.
        heads: number of heads, a divisor of `width`.
        causal: a token attends only to itself and earlier tokens.
        ratio: ratio of the perceptrons' hidden width to `width`.

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

    def forward(
        self, x: Tensor, before: list[list[Tensor]] | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """(B, L, width) -> (B, L, width).

        Args:
            x: tokens.
            before: cache of keys and values for causal decoding one token at a time: initially an empty list
                per block, updated in place.
            mask: which tokens (columns) a token (row) attends to, (L, L) bool; all or those before it if None.
        """
        for i, block in enumerate(self.blocks):
            x = block(x, None if before is None else before[i], mask)
        return self.norm(x)

    def layers(self, x: Tensor) -> list[Tensor]:
        """Tokens (B, L, width) after each block, the last normalised as `forward` returns them."""
        found = []
        for block in self.blocks:
            x = block(x, None, None)
            found.append(x)
        return [*found[:-1], self.norm(x)]


class ViTGridEncoder(nn.Module):
    """A transformer over patches, with one output token per patch.

    Args:
        shape: shape of one input.
        channels: output channels of a token.
        patch: side of a patch.
        sizes: sizes of the transformer.
        condition: widths of the conditions by name, whose linear map is added to every token.
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
        self.patchify, self.condition = Patches(shape, patch), dict(condition)
        self.grid = self.patchify.grid
        self.embed = initialise(nn.Linear(self.patchify.width, width))
        self.tell = nn.Linear(sum(condition.values()), width, bias=False) if condition else None
        self.register_buffer("place", positions(self.grid, width), persistent=False)
        self.blocks = TransformerBlocks(width, sizes.depth, sizes.heads)
        self.out = initialise(nn.Linear(width, channels))

    def forward(self, x: Tensor, condition: Condition = NO_CONDITION) -> Tensor:
        """(*samples, B, *shape) -> (*samples, B, L, channels)."""
        tokens = self.embed(self.patchify(x)) + self.place
        more = condition_vector(condition, self.condition)
        if self.tell is not None and more is not None:
            tokens = tokens + self.tell(more.to(tokens.dtype)).unsqueeze(-2)
        return over_leading(lambda t: self.out(self.blocks(t)), tokens, 2)


class ViTGridDecoder(nn.Module):
    """A transformer over tokens, which are mapped to patches: the mirror of `ViTGridEncoder`.

    Args:
        channels: channels of a token.
        shape: shape of one output.
        patch: side of a patch.
        sizes: sizes of the transformer.
        extra: number of tokens before those of the patches (a class token), without positional embedding or
            output.
    """

    place: Tensor

    def __init__(
        self, channels: int, shape: tuple[int, ...], patch: int, sizes: Sizes, extra: int = 0
    ) -> None:
        super().__init__()
        width = sizes.width
        self.patchify, self.extra = Patches(shape, patch), extra
        self.grid = self.patchify.grid
        self.embed = initialise(nn.Linear(channels, width))
        place = torch.cat([torch.zeros(extra, width), positions(self.grid, width)])
        self.register_buffer("place", place, persistent=False)
        self.blocks = TransformerBlocks(width, sizes.depth, sizes.heads)
        self.out = initialise(nn.Linear(width, self.patchify.width))

    def forward(self, z: Tensor, condition: Condition = NO_CONDITION) -> Tensor:
        """(*samples, B, extra + L, channels) -> (*samples, B, *shape)."""
        tokens = self.embed(z) + self.place
        return self.patchify.join(
            over_leading(lambda t: self.out(self.blocks(t)[:, self.extra :]), tokens, 2)
        )


class ViTEncoder(nn.Module):
    """A transformer over patches with mean pooling.

    Args:
        shape: shape of one input.
        out: width of the output.
        patch: side of a patch.
        sizes: sizes of the transformer.
        condition: widths of the conditions by name.
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
    """Maps the code linearly to one token per patch, and decodes the tokens by a transformer.

    Args:
        z: width of the code.
        shape: shape of one output.
        patch: side of a patch.
        sizes: sizes of the transformer.
        condition: widths of the conditions by name, appended to the code.
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
        self.spread = initialise(nn.Linear(z + sum(condition.values()), self.patches.patchify.count * width))
        self.split = (self.patches.patchify.count, width)

    def forward(self, z: Tensor, condition: Condition = NO_CONDITION) -> Tensor:
        """(*samples, B, z) -> (*samples, B, *shape)."""
        return self.patches(self.spread(join(z, condition, self.condition)).unflatten(-1, self.split))
