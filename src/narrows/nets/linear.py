"""One linear map of a flattened example, beside which its first numbers are passed on."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from narrows.core import NO_CONDITION, Condition

__all__ = ["LinearEncoder"]


class LinearEncoder(nn.Module):
    """A linear map of an example, and the first numbers of the example as they are.

    Args:
        shape: shape of one example.
        out: width of the linear map's output, Z.
        given: how many numbers are passed on, G.

    Example:
        >>> LinearEncoder((4,), 2, given=1)(torch.ones(5, 4))[:, 2].tolist()
        [1.0, 1.0, 1.0, 1.0, 1.0]
    """

    def __init__(self, shape: tuple[int, ...], out: int, given: int = 0) -> None:
        super().__init__()
        self.map, self.given = nn.Linear(math.prod(shape), out), given

    def forward(self, x: Tensor, condition: Condition = NO_CONDITION) -> Tensor:
        """(B, *shape) -> (B, Z + G)."""
        flat = x.flatten(1)
        return torch.cat([self.map(flat), flat[:, : self.given]], -1)
