"""No bottleneck but the width: the code is the features."""

from __future__ import annotations

from torch import Tensor

from narrows.core import Bottleneck, Code, Tree

__all__ = ["Identity"]


class Identity(Bottleneck):
    """``z = h``: features pass as they are, at no cost; with samples asked for they are repeated.

    Example:
        >>> Identity()(torch.ones(4, 3), samples=(2,)).z.shape
        torch.Size([2, 4, 3])
    """

    def forward(self, h: Tree, samples: tuple[int, ...] = ()) -> Code:
        """Pass a tensor of features (B, ...) through."""
        z: Tensor = h
        return Code(z.expand(*samples, *z.shape) if samples else z)
