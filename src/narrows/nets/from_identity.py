"""A linear map of flattened arrays that starts as the identity."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from narrows.core import NO_CONDITION, Condition

__all__ = ["FromIdentity"]


class FromIdentity(nn.Module):
    r"""y = W x + b of a flattened array, with W = I and b = 0 at first.

    If the sizes differ, W is at first the identity of the smaller one, so that what is missing is 0.

    Args:
        shape_in: shape of one input.
        shape_out: shape of one output.
        learned: learn W and b; else they stay as they are.

    Example:
        >>> FromIdentity((3,), (1, 4))(torch.ones(2, 3)).tolist()
        [[[1.0, 1.0, 1.0, 0.0]], [[1.0, 1.0, 1.0, 0.0]]]
    """

    def __init__(self, shape_in: tuple[int, ...], shape_out: tuple[int, ...], learned: bool = True) -> None:
        super().__init__()
        self.axes, self.shape = len(shape_in), shape_out
        self.map = nn.Linear(math.prod(shape_in), math.prod(shape_out))
        with torch.no_grad():
            self.map.weight.copy_(torch.eye(*self.map.weight.shape))
            self.map.bias.zero_()
        self.map.requires_grad_(learned)

    def forward(self, x: Tensor, condition: Condition = NO_CONDITION) -> Tensor:
        """(*samples, B, *shape_in) -> (*samples, B, *shape_out)."""
        out: Tensor = self.map(x.flatten(-self.axes)).unflatten(-1, self.shape)
        return out
