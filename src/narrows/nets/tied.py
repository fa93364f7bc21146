"""One layer, and a decoder with its weights."""

from __future__ import annotations

import math

from torch import Tensor, nn

from narrows.core import NO_CONDITION, Condition
from narrows.core.reference import ModuleReference

__all__ = ["SigmoidLayer", "TiedDecoder"]


class SigmoidLayer(nn.Module):
    """h = sigmoid(W x + b) of a flattened example.

    Args:
        shape: shape of an example.
        out: width of the code, Z.

    Example:
        >>> SigmoidLayer((1, 4, 4), 3)(torch.zeros(2, 1, 4, 4)).shape
        torch.Size([2, 3])
    """

    def __init__(self, shape: tuple[int, ...], out: int) -> None:
        super().__init__()
        self.linear = nn.Linear(math.prod(shape), out)
        nn.init.xavier_uniform_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor, condition: Condition = NO_CONDITION) -> Tensor:
        """Examples (B, *shape) -> (B, Z)."""
        return self.linear(x.flatten(1)).sigmoid()

    def jacobian_norm(self, h: Tensor) -> Tensor:
        r"""The squared norm of dh / dx at each example, (B,): :math:`\sum_j (h_j (1 - h_j))^2 \|w_j\|^2`."""
        return (h * (1 - h)).square() @ self.linear.weight.square().sum(1)


class TiedDecoder(nn.Module):
    """W^T z + c with the weights of a layer, which belong to the encoder.

    Args:
        layer: the encoder.
        shape: shape of one output.

    Example:
        >>> layer = SigmoidLayer((4,), 3)
        >>> TiedDecoder(layer, (4,))(torch.zeros(5, 2, 3)).shape
        torch.Size([5, 2, 4])
    """

    def __init__(self, layer: SigmoidLayer, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.layer, self.shape = ModuleReference(layer), shape
        self.bias = nn.Parameter(layer.linear.weight.new_zeros(math.prod(shape)))

    def forward(self, z: Tensor, condition: Condition = NO_CONDITION) -> Tensor:
        """Codes (*samples, B, Z) -> (*samples, B, *shape)."""
        flat = z @ self.layer.module.linear.weight + self.bias
        return flat.view(*z.shape[:-1], *self.shape)
