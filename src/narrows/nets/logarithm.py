"""Nets that read counts."""

from __future__ import annotations

from torch import Tensor, nn

from narrows.core import NO_CONDITION, Condition, Spec, Tree

__all__ = ["Logarithm", "reading"]


class Logarithm(nn.Module):
    """A net that reads log(1 + x), since counts differ by orders of magnitude.

    Args:
        net: maps ``(x, condition)`` to features.

    Example:
        >>> from narrows.nets.mlp import MLP
        >>> Logarithm(MLP((4,), (2,), ()))(torch.tensor([[0.0, 1.0, 10.0, 1000.0]])).shape
        torch.Size([1, 2])
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, condition: Condition = NO_CONDITION) -> Tree:
        """The features of log(1 + x)."""
        return self.net(x.log1p(), condition)


def reading(spec: Spec, net: nn.Module) -> nn.Module:
    """The encoder of data as `spec` describes them: of counts it reads the logarithm."""
    return Logarithm(net) if spec.values == "counts" else net
