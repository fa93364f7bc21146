"""What is hidden in training: cells at random, rectangles and patterns of pixels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from narrows.core.check import number, refuse, whole

__all__ = ["Cells", "Hiding", "Patterns", "Rectangles"]

_ALL = 0.1
"""The share of images that are hidden as a whole, so that scores and samples, of whole images, are trained."""


class Hiding:
    """Draws of what is hidden from the prior of `AnyConditional` in training."""

    def draw(self, n: int, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """Which cells of n examples are hidden, (n, *shape) bool.

        Args:
            n: number of examples.
            shape: ``(D,)`` for the columns of a table, ``(1, H, W)`` for pixels.
            like: a tensor of the type and on the device of the draws.
        """
        raise NotImplementedError(f"{type(self).__name__} must define draw")


class Cells(Hiding):
    """In each example a share u ~ U(low, high) of the cells or pixels, at random.

    Args:
        low: the least share of hidden cells.
        high: the largest.

    Raises:
        RequestError: a share out of range.

    Example:
        >>> Cells(0.5, 0.5).draw(200, (100,), torch.zeros(1)).float().mean().round(decimals=1)
        tensor(0.5000)
    """

    def __init__(self, low: float = 0.2, high: float = 1.0) -> None:
        self.low, self.high = _shares(low, high)

    def draw(self, n: int, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """(n, *shape) bool."""
        ones = [1] * len(shape)
        share = self.low + (self.high - self.low) * torch.rand(n, *ones, dtype=like.dtype, device=like.device)
        return torch.rand(n, *shape, dtype=like.dtype, device=like.device) < share


class Rectangles(Hiding):
    r"""A rectangle of pixels at a random place, :math:`h \times w` of :math:`H \times W`.

    .. math:: \frac{h w}{H W} \approx u \sim U(\mathrm{low}, \mathrm{high}),\qquad \frac{h}{H} \sim U(u, 1)

    The paper draws two corners until the area is large enough; here its share is uniform. A tenth of the images are
    hidden as a whole.

    Args:
        low: the least share of the area.
        high: the largest.

    Raises:
        RequestError: a share out of range, or data that are no images.

    Example:
        >>> Rectangles().draw(5, (1, 8, 8), torch.zeros(1)).shape
        torch.Size([5, 1, 8, 8])

    Reference:
        Ivanov, Figurnov and Vetrov, Variational Autoencoder with Arbitrary Conditioning, 2019. arXiv:1806.02382
    """

    def __init__(self, low: float = 0.3, high: float = 1.0) -> None:
        self.low, self.high = _shares(low, high)

    def draw(self, n: int, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """(n, 1, H, W) bool."""
        rows, across = _size(shape)
        share, tall, down, right = torch.rand(4, n, device=like.device)
        share = self.low + (self.high - self.low) * share
        height = (rows * (share + (1 - share) * tall)).round().clamp(1, rows)
        width = (share * rows * across / height).round().clamp(1, across)
        top, left = (down * (rows - height + 1)).floor(), (right * (across - width + 1)).floor()
        vertical, horizontal = _between(rows, top, height), _between(across, left, width)
        return ((vertical[:, :, None] & horizontal[:, None]) | _some(n, like))[:, None]


class Patterns(Hiding):
    """Blobs of any form: a coarse image of uniform noise is enlarged smoothly, and values below `share` are hidden.

    A tenth of the images are hidden as a whole.

    Args:
        share: the threshold, near the share of hidden pixels.
        size: pixels per value of the noise.

    Raises:
        RequestError: a share out of range, or data that are no images.

    Example:
        >>> Patterns().draw(5, (1, 8, 8), torch.zeros(1)).shape
        torch.Size([5, 1, 8, 8])

    Reference:
        Pathak et al., Context Encoders: Feature Learning by Inpainting, 2016. arXiv:1604.07379
    """

    def __init__(self, share: float = 0.5, size: int = 6) -> None:
        self.share, self.size = number("share", share, low=0, high=1), whole("size", size)

    def draw(self, n: int, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """(n, 1, H, W) bool."""
        rows, across = _size(shape)
        coarse = [side // self.size + 3 for side in (rows, across)]
        noise = F.interpolate(
            torch.rand(n, 1, *coarse, device=like.device), scale_factor=self.size, mode="bicubic"
        )
        down, right = torch.randint(self.size, (2,)).tolist()
        cut = noise[..., down : down + rows, right : right + across]
        return (cut < self.share) | _some(n, like)[:, None]


def _some(n: int, like: Tensor) -> Tensor:
    """A tenth of n images, (n, 1, 1) bool."""
    return torch.rand(n, 1, 1, device=like.device) < _ALL


def _between(count: int, start: Tensor, length: Tensor) -> Tensor:
    """Which of `count` places are among `length` ones from `start` on, (n, count) bool."""
    places = torch.arange(count, device=start.device)
    return (places >= start[:, None]) & (places < (start + length)[:, None])


def _shares(low: float, high: float) -> tuple[float, float]:
    low, high = number("low", low, low=0, high=1), number("high", high, low=0, high=1)
    if not low <= high or not high:
        raise refuse("high", high, f"at least the least share, {low:g}, and above 0", "Try high=1.")
    return low, high


def _size(shape: tuple[int, ...]) -> tuple[int, int]:
    """The height and width of images."""
    if len(shape) != 3:
        raise refuse("hide", f"pixels of examples of shape {shape}", "cells, unless the data are images")
    return shape[1], shape[2]
