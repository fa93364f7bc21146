"""Network families: each makes encoders and decoders of vectors and of grids of tokens for any shape."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from narrows.core import NO_CONDITION, NO_WIDTHS, Condition, Widths
from narrows.core.check import refuse, whole
from narrows.nets import NETS
from narrows.nets.axes import as_image
from narrows.nets.conv import ConvDecoder, ConvEncoder, ConvGridDecoder, ConvGridEncoder
from narrows.nets.mlp import MLP
from narrows.nets.skip import SkipMLP
from narrows.nets.vit import Sizes, ViTDecoder, ViTEncoder, ViTGridDecoder, ViTGridEncoder

__all__ = [
    "Convolutional",
    "GridMLP",
    "Linear",
    "Net",
    "Perceptron",
    "Residual",
    "Skip",
    "Transformer",
    "transformer",
]

Shape = tuple[int, ...]


class Net:
    """A family of networks with its sizes, from which encoders and their mirrored decoders are made.

    The grid of tokens has the shape ``ceil(H / downsample) x ceil(W / downsample)`` for an image, and one row
    of ``ceil(T / downsample)`` for a sequence; a vector is treated as a sequence of scalars.
    """

    def encoder(self, shape: Shape, out: int, condition: Widths = NO_WIDTHS) -> nn.Module:
        """A net from examples to vectors, ``(x, condition) -> (B, out)``.

        Args:
            shape: shape of one input.
            out: width of the output.
            condition: widths of the conditions by name.
        """
        raise NotImplementedError(f"{type(self).__name__} must define encoder")

    def decoder(self, z: int, shape: Shape, condition: Widths = NO_WIDTHS) -> nn.Module:
        """A net from vectors to examples, ``(z, condition) -> (*samples, B, *shape)``.

        Args:
            z: width of the code.
            shape: shape of one output.
            condition: widths of the conditions by name.
        """
        raise NotImplementedError(f"{type(self).__name__} must define decoder")

    def grid(self, shape: Shape, downsample: int) -> tuple[int, int]:
        """Rows and columns of the grid of tokens."""
        _, height, width = as_image(shape)
        return math.ceil(height / downsample), math.ceil(width / downsample)

    def grid_encoder(self, shape: Shape, channels: int, downsample: int) -> nn.Module:
        """A net from examples to a grid of tokens, row by row: ``(x, condition) -> (B, L, channels)``.

        Args:
            shape: shape of one input.
            channels: channels of a token.
            downsample: pixels per token along each side.
        """
        raise NotImplementedError(f"{type(self).__name__} must define grid_encoder")

    def grid_decoder(self, channels: int, shape: Shape, downsample: int) -> nn.Module:
        """A net from a grid of tokens to examples, ``(z, condition) -> (*samples, B, *shape)``.

        Args:
            channels: channels of a token.
            shape: shape of one output; its grid must be the encoder's.
            downsample: pixels per token along each side.
        """
        raise NotImplementedError(f"{type(self).__name__} must define grid_decoder")


class Perceptron(Net):
    """A perceptron; as a grid, it gives a vector ``ceil(D / downsample^2)`` tokens.

    Args:
        hidden: widths of the hidden layers, starting at the data. When empty, two layers: the next power of
            two above the size of the data, between 64 and 512, and half of it.
        batch_norm: normalise the hidden layers over the batch, and in `eval()` by running moments.

    Example:
        >>> Perceptron().widths((1, 28, 28)), Perceptron((32,)).widths((8,))
        ((512, 256), (32,))
    """

    layers: type[MLP] = MLP

    def __init__(self, hidden: tuple[int, ...] = (), batch_norm: bool = False) -> None:
        self.hidden, self.batch_norm = tuple(whole("hidden", n) for n in hidden), batch_norm

    def widths(self, shape: Shape) -> Shape:
        """The widths of the hidden layers for data of a shape, starting at the data."""
        first = 2 ** math.ceil(math.log2(max(64, min(512, math.prod(shape)))))
        return self.hidden or (first, first // 2)

    def encoder(self, shape: Shape, out: int, condition: Widths = NO_WIDTHS) -> nn.Module:
        """(x, condition) -> (B, out)."""
        return self.layers(shape, (out,), self.widths(shape), condition, self.batch_norm)

    def decoder(self, z: int, shape: Shape, condition: Widths = NO_WIDTHS) -> nn.Module:
        """(z, condition) -> (*samples, B, *shape)."""
        return self.layers((z,), shape, self.widths(shape)[::-1], condition, self.batch_norm)

    def grid(self, shape: Shape, downsample: int) -> tuple[int, int]:
        """Rows and columns of the grid of tokens."""
        if len(shape) == 1:
            return 1, math.ceil(shape[0] / downsample**2)
        return super().grid(shape, downsample)

    def grid_encoder(self, shape: Shape, channels: int, downsample: int) -> nn.Module:
        """(x, condition) -> (B, L, channels)."""
        grid = self.grid(shape, downsample)
        return GridMLP(shape, (grid[0] * grid[1], channels), self.widths(shape), grid, self.batch_norm)

    def grid_decoder(self, channels: int, shape: Shape, downsample: int) -> nn.Module:
        """(z, condition) -> (*samples, B, *shape)."""
        grid = self.grid(shape, downsample)
        return GridMLP((grid[0] * grid[1], channels), shape, self.widths(shape)[::-1], grid, self.batch_norm)


class Linear(Perceptron):
    """A linear map: a perceptron without hidden layers."""

    def __init__(self) -> None:
        super().__init__()

    def widths(self, shape: Shape) -> Shape:
        """No hidden layers."""
        return ()


class Skip(Perceptron):
    """The sum of a linear map and a perceptron that is initialised at zero. For grids, only the perceptron.

    Args:
        hidden: widths of the hidden layers, starting at the data; as for ``mlp`` when empty.
        batch_norm: as for ``mlp``.
    """

    layers = SkipMLP


class Convolutional(Net):
    """A convolutional net; for grids, the number of halvings follows from `downsample`.

    Args:
        hidden: channels of each level, starting at the data. When empty the image is halved until its shorter
            side has about 4 to 7 pixels, with 32 channels after the first level, then 64, 128, 256.
        width: hidden channels of the nets to and from a grid of tokens.
    """

    blocks = 0

    def __init__(self, hidden: tuple[int, ...] = (), width: int = 64) -> None:
        self.hidden, self.width = tuple(whole("hidden", n) for n in hidden), whole("width", width)

    def widths(self, shape: Shape) -> Shape:
        """The channels of each level for data of a shape.

        Example:
            >>> Convolutional().widths((3, 32, 32))
            (32, 64, 128)
        """
        _, height, width = as_image(shape)
        side = width if height == 1 else min(height, width)
        levels = max(1, min(4, int(math.log2(max(side, 8) / 4))))
        return self.hidden or tuple(32 * 2**i for i in range(levels))

    def encoder(self, shape: Shape, out: int, condition: Widths = NO_WIDTHS) -> nn.Module:
        """(x, condition) -> (B, out)."""
        return ConvEncoder(shape, out, self.widths(shape), condition, blocks=self.blocks)

    def decoder(self, z: int, shape: Shape, condition: Widths = NO_WIDTHS) -> nn.Module:
        """(z, condition) -> (*samples, B, *shape)."""
        return ConvDecoder(z, shape, self.widths(shape), condition, blocks=self.blocks)

    def grid(self, shape: Shape, downsample: int) -> tuple[int, int]:
        """Rows and columns of the grid of tokens."""
        if downsample & (downsample - 1):
            raise refuse("downsample", downsample, "a power of two for a convolutional net")
        return super().grid(shape, downsample)

    def grid_encoder(self, shape: Shape, channels: int, downsample: int) -> nn.Module:
        """(x, condition) -> (B, L, channels)."""
        self.grid(shape, downsample)
        return ConvGridEncoder(shape, channels, downsample.bit_length() - 1, self.width, 1 + self.blocks)

    def grid_decoder(self, channels: int, shape: Shape, downsample: int) -> nn.Module:
        """(z, condition) -> (*samples, B, *shape)."""
        self.grid(shape, downsample)
        return ConvGridDecoder(channels, shape, downsample.bit_length() - 1, self.width, 1 + self.blocks)


class Residual(Convolutional):
    """A convolutional net with a residual block at each level.

    Args:
        hidden: channels of each level, starting at the data; as for ``conv`` when empty.
        width: hidden channels of the nets to and from a grid of tokens.
    """

    blocks = 1


class Transformer(Net):
    """A vision transformer with about 7 patches per side; for grids, one patch per token.

    Args:
        width: hidden channels of a token, a multiple of 4 and of `heads`.
        depth: number of blocks.
        heads: number of attention heads.
    """

    def __init__(self, width: int = 64, depth: int = 2, heads: int = 4) -> None:
        self.sizes = Sizes(whole("width", width), whole("depth", depth), whole("heads", heads))

    @staticmethod
    def patch(shape: Shape) -> int:
        """The side of a patch."""
        _, height, width = as_image(shape)
        return max(1, math.ceil(max(height, width) / 8))

    def encoder(self, shape: Shape, out: int, condition: Widths = NO_WIDTHS) -> nn.Module:
        """(x, condition) -> (B, out)."""
        return ViTEncoder(shape, out, self.patch(shape), self.sizes, condition)

    def decoder(self, z: int, shape: Shape, condition: Widths = NO_WIDTHS) -> nn.Module:
        """(z, condition) -> (*samples, B, *shape)."""
        return ViTDecoder(z, shape, self.patch(shape), self.sizes, condition)

    def grid_encoder(self, shape: Shape, channels: int, downsample: int) -> nn.Module:
        """(x, condition) -> (B, L, channels)."""
        return ViTGridEncoder(shape, channels, downsample, self.sizes)

    def grid_decoder(self, channels: int, shape: Shape, downsample: int) -> nn.Module:
        """(z, condition) -> (*samples, B, *shape)."""
        return ViTGridDecoder(channels, shape, downsample, self.sizes)


def transformer(argument: str, net: str | Net) -> Transformer:
    """The transformer that a text spells, for methods that need a transformer.

    Raises:
        RequestError: the text spells another net.
    """
    made = NETS.make(net)
    if not isinstance(made, Transformer):
        raise refuse(argument, net, f"a vision transformer, {NETS.usage('vit')}")
    return made


class GridMLP(MLP):
    """A perceptron to or from a grid of tokens.

    Args:
        shape_in: shape of one input.
        shape_out: shape of one output.
        hidden: widths of the hidden layers.
        grid: rows and columns of the tokens.
        batch_norm: normalise the hidden layers.
    """

    def __init__(
        self,
        shape_in: Shape,
        shape_out: Shape,
        hidden: Sequence[int],
        grid: tuple[int, int],
        batch_norm: bool = False,
    ) -> None:
        super().__init__(shape_in, shape_out, hidden, batch_norm=batch_norm)
        self.grid = grid

    def forward(self, x: Tensor, condition: Condition = NO_CONDITION) -> Tensor:
        """(*samples, B, *shape_in) -> (*samples, B, *shape_out)."""
        return super().forward(x)
