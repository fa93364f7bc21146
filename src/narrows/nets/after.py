"""A net that reads a function of its input."""

from __future__ import annotations

from torch import Tensor, nn

from narrows.core import NO_CONDITION, Condition

__all__ = ["After", "Scale", "Scaled"]


class After(nn.Module):
    """A net that reads the output of a first module in place of its own input.

    Args:
        first: from (..., Z) to (..., W).
        net: from (..., W), with conditions, to anything.

    Example:
        >>> from narrows.nets.mlp import MLP
        >>> After(nn.Softmax(-1), MLP((3,), (5,), ()))(torch.zeros(2, 3)).shape
        torch.Size([2, 5])
    """

    def __init__(self, first: nn.Module, net: nn.Module) -> None:
        super().__init__()
        self.first, self.net = first, net

    def forward(self, z: Tensor, condition: Condition = NO_CONDITION) -> Tensor:
        """The net's output."""
        found: Tensor = self.net(self.first(z), condition)
        return found


class Scale(nn.Module):
    """Multiplication by a number, so that a net's input is of order 1.

    Args:
        factor: the number.

    Example:
        >>> Scale(4)(torch.tensor([0.25, 0.75]))
        tensor([1., 3.])
    """

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, z: Tensor) -> Tensor:
        """The product."""
        return self.factor * z


class Scaled(nn.Module):
    """A net whose output is multiplied by a number.

    Args:
        net: from examples, with conditions, to (..., Z).
        factor: the number.

    Example:
        >>> from narrows.nets.mlp import MLP
        >>> Scaled(MLP((3,), (5,), ()), 2.0)(torch.zeros(2, 3)).shape
        torch.Size([2, 5])
    """

    def __init__(self, net: nn.Module, factor: float) -> None:
        super().__init__()
        self.net, self.factor = net, factor

    def forward(self, x: Tensor, condition: Condition = NO_CONDITION) -> Tensor:
        """The product."""
        found: Tensor = self.net(x, condition)
        return self.factor * found
