"""Multi-layer perceptrons: a map from arrays of one shape to arrays of another."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from torch import Tensor, nn

from narrows.core import NO_CONDITION, NO_WIDTHS, Condition, Widths
from narrows.nets.axes import join
from narrows.nets.batch_norm import BatchNorm

__all__ = ["MLP", "dense_layers", "initialise"]


def initialise(module: nn.Module) -> nn.Module:
    """Apply He's normal initialisation by fan-in to every weight, and zero the biases; returns the module.

    Args:
        module: a module with linear or convolutional layers. The last layer has gain 1.
    """
    layers = [m for m in module.modules() if isinstance(m, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d))]
    for layer in layers:
        fan = layer.weight[0].numel()
        if isinstance(layer, nn.ConvTranspose2d):  # each output sees kernel / stride^2 of the inputs
            fan = layer.weight.shape[0] * layer.weight[0, 0].numel() // math.prod(layer.stride)
        gain = 1.0 if layer is layers[-1] else 2.0
        nn.init.normal_(layer.weight, std=math.sqrt(gain / fan))
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    return module


def dense_layers(widths: Sequence[int], batch_norm: bool = False) -> nn.Sequential:
    """Linear layers with SiLU between them, from ``widths[0]`` to ``widths[-1]``.

    Args:
        widths: of the input, the hidden layers and the output.
        batch_norm: normalise the hidden layers before SiLU.

    Example:
        >>> len(dense_layers((4, 8, 2)))
        3
    """
    layers: list[nn.Module] = []
    for i, (a, b) in enumerate(itertools.pairwise(widths)):
        layers += [BatchNorm(a)] * (batch_norm and i > 0) + [nn.SiLU()] * (i > 0) + [nn.Linear(a, b)]
    net = nn.Sequential(*layers)
    initialise(net)
    return net


class MLP(nn.Module):
    """A perceptron from arrays of one shape to arrays of another, keeping leading axes.

    Args:
        shape_in: shape of one input, flattened.
        shape_out: shape of one output.
        hidden: widths of the hidden layers; ``()`` is one linear map.
        condition: widths of the conditions by name, appended to the input.
        batch_norm: normalise the hidden layers.

    Example:
        >>> MLP((4,), (1, 3, 3), (8,))(torch.ones(5, 2, 4)).shape
        torch.Size([5, 2, 1, 3, 3])
    """

    def __init__(
        self,
        shape_in: tuple[int, ...],
        shape_out: tuple[int, ...],
        hidden: Sequence[int],
        condition: Widths = NO_WIDTHS,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        self.shape_in, self.shape_out, self.condition = tuple(shape_in), tuple(shape_out), dict(condition)
        self.layers = dense_layers(
            (math.prod(shape_in) + sum(condition.values()), *hidden, math.prod(shape_out)), batch_norm
        )

    def forward(self, x: Tensor, condition: Condition = NO_CONDITION) -> Tensor:
        """(*samples, B, *shape_in) -> (*samples, B, *shape_out)."""
        y: Tensor = self.layers(join(x.flatten(-len(self.shape_in)), condition, self.condition))
        return y.unflatten(-1, self.shape_out) if len(self.shape_out) > 1 else y
