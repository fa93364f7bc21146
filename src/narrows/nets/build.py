"""Encoders and decoders chosen from the shape of the data.

One rule chooses where the user does not: an image of at least 16 pixels a side gets a convolutional net, anything
else a perceptron; a grid of tokens is convolutional for every image and sequence.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from narrows.core import NO_CONDITION, NO_WIDTHS, Condition, Widths
from narrows.core.check import choice, refuse, whole
from narrows.nets.axes import as_image
from narrows.nets.conv import ConvDecoder, ConvEncoder, ConvGridDecoder, ConvGridEncoder
from narrows.nets.mlp import MLP
from narrows.nets.skip import SkipMLP
from narrows.nets.vit import ViTDecoder, ViTEncoder, ViTGridDecoder, ViTGridEncoder

__all__ = [
    "NETS",
    "GridMLP",
    "chosen",
    "code_width",
    "decoder",
    "encoder",
    "grid_decoder",
    "grid_encoder",
    "grid_of",
]

NETS = ("auto", "linear", "mlp", "skip", "conv", "resnet", "vit")
"""The kinds of network; ``linear`` is a perceptron without hidden layers, ``skip`` one beside a linear map."""

GRID_WIDTH = 64
"""Channels inside the convolutional grid encoders and decoders."""


_PERCEPTRONS: dict[str, type[MLP]] = {"linear": MLP, "mlp": MLP, "skip": SkipMLP}


def code_width(latent: int, shape: tuple[int, ...]) -> int:
    """The width of a code: the one asked for, or, where that is 0, 16 or half of an example's numbers.

    Raises:
        RequestError: a negative width.

    Example:
        >>> code_width(0, (28, 28)), code_width(0, (13,)), code_width(0, (1,)), code_width(5, (4,))
        (16, 6, 1, 5)
    """
    return whole("latent", latent, low=0) or max(1, min(16, math.prod(shape) // 2))


def chosen(net: str, shape: tuple[int, ...]) -> str:
    """The kind of network for a shape: ``auto`` resolved, anything else checked.

    Raises:
        RequestError: no such kind of network.

    Example:
        >>> chosen("auto", (1, 28, 28)), chosen("auto", (1, 8, 8)), chosen("auto", (20,)), chosen("vit", (20,))
        ('conv', 'mlp', 'mlp', 'vit')
    """
    if choice("net", net, NETS) != "auto":
        return net
    return "conv" if len(shape) == 3 and min(shape[1:]) >= 16 else "mlp"


def widths(net: str, shape: tuple[int, ...], hidden: Sequence[int] = ()) -> tuple[int, ...]:
    """The hidden widths, from the data inwards: those given, or, where none are, those that suit the shape.

    A perceptron gets two layers, the first the power of two next above the size of the data, between 64 and 512,
    the second half of it. A convolutional net halves the image until its shorter side is about 4 to 7 pixels, with
    32 channels after the first level, then 64, 128, 256.

    Raises:
        RequestError: a width below 1, or widths for a linear map.

    Example:
        >>> widths("mlp", (1, 28, 28)), widths("conv", (3, 32, 32)), widths("linear", (20,))
        ((512, 256), (32, 64, 128), ())
    """
    if net == "linear" and hidden:
        raise refuse(
            "hidden",
            tuple(hidden),
            "empty for ``net='linear'``, which has no hidden layer",
            "Use ``net='mlp'``.",
        )
    if hidden or net == "linear":
        return tuple(whole("hidden", n) for n in hidden)
    if net in ("mlp", "skip"):
        first = 2 ** math.ceil(math.log2(max(64, min(512, math.prod(shape)))))
        return first, first // 2
    _, height, width = as_image(shape)
    side = width if height == 1 else min(height, width)
    levels = max(1, min(4, int(math.log2(max(side, 8) / 4))))
    return tuple(32 * 2**i for i in range(levels))


def _vit(shape: tuple[int, ...], hidden: Sequence[int]) -> tuple[int, int, int]:
    """Patch, width and depth of a transformer: about 7 patches a side, `hidden` a width a block."""
    sizes = widths("vit", shape, hidden) if hidden else (64, 64)
    if len(set(sizes)) > 1:
        raise refuse("hidden", tuple(hidden), "the same width for every block of a vit")
    _, height, width = as_image(shape)
    return max(1, math.ceil(max(height, width) / 8)), sizes[0], len(sizes)


def encoder(
    shape: tuple[int, ...],
    out: int,
    net: str = "auto",
    hidden: Sequence[int] = (),
    condition: Widths = NO_WIDTHS,
) -> nn.Module:
    """Make a net from examples to vectors: ``(x, condition) -> (B, out)``.

    Args:
        shape: shape of one input.
        out: width of the output.
        net: ``linear``, ``mlp``, ``skip``, ``conv``, ``resnet``, ``vit``, or ``auto`` to choose from the shape.
        hidden: widths from the data inwards (of layers, levels or blocks); those that suit the shape when empty.
        condition: what both sides are told, by name, and how many numbers each has.

    Raises:
        RequestError: an unknown net, or widths that it cannot have.

    Example:
        >>> import torch
        >>> encoder((1, 28, 28), 16)(torch.rand(2, 1, 28, 28)).shape
        torch.Size([2, 16])
    """
    net = chosen(net, shape)
    if net in _PERCEPTRONS:
        return _PERCEPTRONS[net](shape, (out,), widths(net, shape, hidden), condition)
    if net == "vit":
        return ViTEncoder(shape, out, *_vit(shape, hidden), condition=condition)
    return ConvEncoder(shape, out, widths(net, shape, hidden), condition, blocks=int(net == "resnet"))


def decoder(
    z: int,
    shape_out: tuple[int, ...],
    net: str = "auto",
    hidden: Sequence[int] = (),
    condition: Widths = NO_WIDTHS,
) -> nn.Module:
    """Make a net from vectors to examples, the mirror of `encoder`: ``(z, condition) -> (*samples, B, *shape_out)``.

    Args:
        z: width of the code.
        shape_out: shape of one output, the likelihood's `parameter_shape`.
        net: as for `encoder`.
        hidden: widths from the data inwards, in the encoder's order; the decoder goes through them backwards.
        condition: what both sides are told, by name, and how many numbers each has.

    Raises:
        RequestError: an unknown net, or widths that it cannot have.

    Example:
        >>> import torch
        >>> decoder(16, (1, 28, 28))(torch.rand(5, 2, 16)).shape
        torch.Size([5, 2, 1, 28, 28])
    """
    net = chosen(net, shape_out)
    if net in _PERCEPTRONS:
        return _PERCEPTRONS[net]((z,), shape_out, widths(net, shape_out, hidden)[::-1], condition)
    if net == "vit":
        return ViTDecoder(z, shape_out, *_vit(shape_out, hidden), condition=condition)
    return ConvDecoder(z, shape_out, widths(net, shape_out, hidden), condition, blocks=int(net == "resnet"))


def grid_of(shape: tuple[int, ...], downsample: int, net: str = "auto") -> tuple[int, int]:
    """Rows and columns of the grid of tokens that `grid_encoder` makes.

    An image gives ``ceil(H / downsample) x ceil(W / downsample)`` tokens, a sequence one row of
    ``ceil(T / downsample)``. A vector under a perceptron has no neighbourhoods: it gives one row of
    ``ceil(D / downsample^2)`` tokens, as many as an image of that many pixels; under the other nets it counts as a
    sequence of single numbers.

    Raises:
        RequestError: a downsample below 1, or none of 1, 2, 4, 8 ... for a convolutional net.

    Example:
        >>> grid_of((1, 28, 28), 4), grid_of((50, 3), 4), grid_of((64,), 4)
        ((7, 7), (1, 13), (1, 4))
    """
    downsample = whole("downsample", downsample)
    net = _grid_net(net, shape)
    if len(shape) == 1 and net in _PERCEPTRONS:
        return 1, math.ceil(shape[0] / downsample**2)
    if net in ("conv", "resnet") and downsample & (downsample - 1):
        raise refuse("downsample", downsample, "a power of two for a convolutional net")
    _, height, width = as_image(shape)
    return math.ceil(height / downsample), math.ceil(width / downsample)


def _grid_net(net: str, shape: tuple[int, ...]) -> str:
    """The kind of network behind a grid: convolutional where there are neighbourhoods."""
    if choice("net", net, NETS) != "auto":
        return "mlp" if net == "skip" else net
    return "mlp" if len(shape) == 1 else "conv"


class GridMLP(MLP):
    """A perceptron to or from a grid of tokens.

    Args:
        shape_in: shape of one input.
        shape_out: shape of one output.
        hidden: widths of the hidden layers.
        grid: rows and columns of the tokens.
    """

    def __init__(
        self,
        shape_in: tuple[int, ...],
        shape_out: tuple[int, ...],
        hidden: Sequence[int],
        grid: tuple[int, int],
    ) -> None:
        super().__init__(shape_in, shape_out, hidden)
        self.grid = grid

    def forward(self, x: Tensor, condition: Condition = NO_CONDITION) -> Tensor:
        """(*samples, B, *shape_in) -> (*samples, B, *shape_out)."""
        return super().forward(x)


def grid_encoder(
    shape: tuple[int, ...], channels: int, downsample: int = 4, net: str = "auto", width: int = GRID_WIDTH
) -> nn.Module:
    """Make a net from examples to a grid of tokens: ``(x, condition) -> (B, L, channels)``, row by row.

    Its attribute ``grid`` is ``(rows, columns)``, with L = rows * columns; `grid_of` says how many. A condition
    is accepted and not used.

    Args:
        shape: shape of one input.
        channels: channels of a token.
        downsample: pixels a token, along each side.
        net: as for `encoder`; ``auto`` is convolutional for images and sequences, a perceptron for vectors.
        width: channels inside a convolutional net or a transformer.

    Raises:
        RequestError: an unknown net, or a downsample that it cannot have.

    Example:
        >>> import torch
        >>> net = grid_encoder((3, 32, 32), 8)
        >>> net(torch.rand(2, 3, 32, 32)).shape, net.grid
        (torch.Size([2, 64, 8]), (8, 8))
    """
    grid, net = grid_of(shape, downsample, net), _grid_net(net, shape)
    if net in ("linear", "mlp"):
        return GridMLP(shape, (grid[0] * grid[1], channels), widths(net, shape), grid)
    if net == "vit":
        return ViTGridEncoder(shape, channels, downsample, whole("width", width))
    return ConvGridEncoder(
        shape, channels, downsample.bit_length() - 1, whole("width", width), 1 + (net == "resnet")
    )


def grid_decoder(
    channels: int, shape_out: tuple[int, ...], downsample: int = 4, net: str = "auto", width: int = GRID_WIDTH
) -> nn.Module:
    """Make a net from a grid of tokens to examples: ``(z, condition) -> (*samples, B, *shape_out)``.

    Args:
        channels: channels of a token.
        shape_out: shape of one output. Its grid must be the encoder's, so its sides must be those of the input.
        downsample: pixels a token, along each side.
        net: as for `grid_encoder`.
        width: channels inside a convolutional net or a transformer.

    Raises:
        RequestError: an unknown net, or a downsample that it cannot have.

    Example:
        >>> import torch
        >>> grid_decoder(8, (3, 32, 32))(torch.rand(2, 64, 8)).shape
        torch.Size([2, 3, 32, 32])
    """
    grid, net = grid_of(shape_out, downsample, net), _grid_net(net, shape_out)
    if net in ("linear", "mlp"):
        inwards = widths(net, shape_out)
        return GridMLP((grid[0] * grid[1], channels), shape_out, inwards[::-1], grid)
    if net == "vit":
        return ViTGridDecoder(channels, shape_out, downsample, whole("width", width))
    return ConvGridDecoder(
        channels, shape_out, downsample.bit_length() - 1, whole("width", width), 1 + (net == "resnet")
    )
