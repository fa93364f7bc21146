"""The identity bottleneck: the code is the encoder's output."""

from __future__ import annotations

from torch import Tensor

from narrows.core import Bottleneck, Code, Tree

__all__ = ["Identity"]


class Identity(Bottleneck):
    """``z = h``, without cost; copies are returned for several samples.

    Example:
        >>> Identity()(torch.ones(4, 3), samples=(2,)).z.shape
        torch.Size([2, 4, 3])
    """

    def forward(self, h: Tree, samples: tuple[int, ...] = ()) -> Code:
        """Pass a tensor of features (B, ...) through."""
        z: Tensor = h
        return Code(z.expand(*samples, *z.shape) if samples else z)
