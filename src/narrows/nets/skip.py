"""The sum of a linear map and a perceptron."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from narrows.core import NO_CONDITION, NO_WIDTHS, Condition, Widths
from narrows.nets.axes import join
from narrows.nets.mlp import MLP

__all__ = ["SkipMLP"]


class SkipMLP(MLP):
    r"""A linear map plus a perceptron that is initialised at zero: :math:`y = W x + b + \mathrm{mlp}(x)`.

    Args:
        shape_in: shape of one input, flattened.
        shape_out: shape of one output.
        hidden: widths of the perceptron's hidden layers.
        condition: widths of the conditions by name, appended to the input.
        batch_norm: normalise the hidden layers.

    Example:
        >>> net = SkipMLP((4,), (2,), (8,))
        >>> x = torch.ones(5, 4)
        >>> bool((net(x) == net.linear(x)).all())
        True
    """

    def __init__(
        self,
        shape_in: tuple[int, ...],
        shape_out: tuple[int, ...],
        hidden: Sequence[int],
        condition: Widths = NO_WIDTHS,
        batch_norm: bool = False,
    ) -> None:
        super().__init__(shape_in, shape_out, hidden, condition, batch_norm)
        last = self.layers[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        self.linear = nn.Linear(math.prod(shape_in) + sum(condition.values()), math.prod(shape_out))
        nn.init.normal_(self.linear.weight, std=self.linear.in_features**-0.5)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor, condition: Condition = NO_CONDITION) -> Tensor:
        """(*samples, B, *shape_in) -> (*samples, B, *shape_out)."""
        joined = join(x.flatten(-len(self.shape_in)), condition, self.condition)
        y: Tensor = self.linear(joined) + self.layers(joined)
        return y.unflatten(-1, self.shape_out) if len(self.shape_out) > 1 else y
