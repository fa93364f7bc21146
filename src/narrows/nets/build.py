"""Encoders and decoders from the spelling of a net and the shape of the data."""

from __future__ import annotations

import math

from torch import nn

from narrows.core import NO_WIDTHS, Widths
from narrows.core.check import whole
from narrows.nets import NETS
from narrows.nets.kinds import Net

__all__ = ["code_width", "decoder", "encoder", "grid_decoder", "grid_encoder", "grid_of", "net_for"]


def net_for(net: str | Net, shape: tuple[int, ...], *, vectors: str = "mlp", grid: bool = False) -> Net:
    """The network for a shape; resolves ``auto``.

    ``auto`` is a convolutional net for images of at least 16 pixels per side, otherwise a perceptron; for a
    grid of tokens it is convolutional for every image and sequence.

    Args:
        net: a text of `NETS`, or the net itself.
        shape: shape of one example.
        vectors: the net that ``auto`` means for vectors, such as ``skip`` for principal components.
        grid: whether the net maps to a grid of tokens.

    Raises:
        RequestError: an unknown network, or an invalid size.

    Example:
        >>> type(net_for("auto", (1, 28, 28))).__name__, type(net_for("auto", (1, 8, 8))).__name__
        ('Convolutional', 'Perceptron')
    """
    if NETS.word(net):
        image = len(shape) > 1 if grid else len(shape) == 3 and min(shape[1:]) >= 16
        net = "conv" if image else vectors if len(shape) == 1 else "mlp"
    return NETS.make(net)


def code_width(latent: int, shape: tuple[int, ...]) -> int:
    """The width of a code: `latent`, or if that is 0, the smaller of 16 and half the size of an example.

    Raises:
        RequestError: a negative width.

    Example:
        >>> code_width(0, (28, 28)), code_width(0, (13,)), code_width(0, (1,)), code_width(5, (4,))
        (16, 6, 1, 5)
    """
    return whole("latent", latent, low=0) or max(1, min(16, math.prod(shape) // 2))


def encoder(
    shape: tuple[int, ...], out: int, net: str | Net = "auto", condition: Widths = NO_WIDTHS
) -> nn.Module:
    """Make a net from examples to vectors: ``(x, condition) -> (B, out)``.

    Example:
        >>> encoder((1, 28, 28), 16, "conv:8,16")(torch.rand(2, 1, 28, 28)).shape
        torch.Size([2, 16])
    """
    return net_for(net, shape).encoder(shape, out, condition)


def decoder(
    z: int, shape_out: tuple[int, ...], net: str | Net = "auto", condition: Widths = NO_WIDTHS
) -> nn.Module:
    """Make a net from vectors to examples: ``(z, condition) -> (*samples, B, *shape_out)``.

    Example:
        >>> decoder(16, (1, 28, 28))(torch.rand(5, 2, 16)).shape
        torch.Size([5, 2, 1, 28, 28])
    """
    return net_for(net, shape_out).decoder(z, shape_out, condition)


def grid_of(shape: tuple[int, ...], downsample: int, net: str | Net = "auto") -> tuple[int, int]:
    """Rows and columns of the grid of tokens of `grid_encoder`.

    Raises:
        RequestError: `downsample` is below 1, or not a power of 2 for a convolutional net.

    Example:
        >>> grid_of((1, 28, 28), 4), grid_of((50, 3), 4), grid_of((64,), 4)
        ((7, 7), (1, 13), (1, 4))
    """
    return net_for(net, shape, grid=True).grid(shape, whole("downsample", downsample))


def grid_encoder(
    shape: tuple[int, ...], channels: int, downsample: int = 4, net: str | Net = "auto"
) -> nn.Module:
    """Make a net from examples to a grid of tokens: ``(x, condition) -> (B, L, channels)``, row by row.

    Its attribute ``grid`` is ``(rows, columns)``, with L = rows * columns.

    Example:
        >>> net = grid_encoder((3, 32, 32), 8)
        >>> net(torch.rand(2, 3, 32, 32)).shape, net.grid
        (torch.Size([2, 64, 8]), (8, 8))
    """
    return net_for(net, shape, grid=True).grid_encoder(shape, channels, whole("downsample", downsample))


def grid_decoder(
    channels: int, shape_out: tuple[int, ...], downsample: int = 4, net: str | Net = "auto"
) -> nn.Module:
    """Make a net from a grid of tokens to examples: ``(z, condition) -> (*samples, B, *shape_out)``.

    Example:
        >>> grid_decoder(8, (3, 32, 32))(torch.rand(2, 64, 8)).shape
        torch.Size([2, 3, 32, 32])
    """
    found = net_for(net, shape_out, grid=True)
    return found.grid_decoder(channels, shape_out, whole("downsample", downsample))
