"""A perceptron beside a linear map, and the start of an autoencoder of two of them at principal components."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from narrows.nets.lead import join
from narrows.nets.mlp import MLP

__all__ = ["Principal", "SkipMLP", "principal"]


_MOST = 1024
"""Where there are more columns than this, components are taken of about so many rows."""


class SkipMLP(MLP):
    r"""A linear map plus a perceptron that begins at zero: :math:`y = W x + b + \mathrm{mlp}(x)`.

    Args:
        shape_in: shape of one input, flattened.
        shape_out: shape of one output.
        hidden: widths of the perceptron's hidden layers.
        given: width G of what both sides are told, appended to the input.

    Example:
        >>> net = SkipMLP((4,), (2,), (8,))
        >>> x = torch.ones(5, 4)
        >>> bool((net(x) == net.linear(x)).all())
        True
    """

    def __init__(
        self, shape_in: tuple[int, ...], shape_out: tuple[int, ...], hidden: Sequence[int], given: int = 0
    ) -> None:
        super().__init__(shape_in, shape_out, hidden, given)
        last = self.layers[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        self.linear = nn.Linear(math.prod(shape_in) + given, math.prod(shape_out))
        nn.init.normal_(self.linear.weight, std=self.linear.in_features**-0.5)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor, given: Tensor | None = None) -> Tensor:
        """(*samples, B, *shape_in) -> (*samples, B, *shape_out)."""
        joined = join(x.flatten(-len(self.shape_in)), given, self.given)
        y: Tensor = self.linear(joined) + self.layers(joined)
        return y.unflatten(-1, self.shape_out) if len(self.shape_out) > 1 else y


class Principal(NamedTuple):
    """Principal components: the mean (D,), the axes (Z, D), the variances along them (Z,), and that of the rest."""

    mean: Tensor
    axes: Tensor
    variances: Tensor
    rest: float


def principal(x: Tensor, count: int) -> Principal:
    """The first principal components of rows, in float64; axes beyond the data's rank are zero.

    Args:
        x: rows (N, D).
        count: how many components, Z.

    Example:
        >>> found = principal(torch.tensor([[1.0, 0.0], [3.0, 0.0], [2.0, 0.5], [2.0, -0.5]]), 1)
        >>> found.mean.tolist(), found.axes.abs().tolist(), found.variances.tolist(), found.rest
        ([2.0, 0.0], [[1.0, 0.0]], [0.5], 0.125)
    """
    rows = x.double()
    if min(rows.shape) > _MOST:  # the cube of this is what it costs
        rows = rows[:: -(-len(rows) // _MOST)]
    mean = rows.mean(0)
    centred = rows - mean
    n, d = centred.shape
    values, vectors = torch.linalg.eigh(centred.T @ centred if d <= n else centred @ centred.T)
    values, vectors = values.flip(0).clamp_min(0), vectors.flip(1)
    kept = min(count, int((values > 1e-10 * values[:1].clamp_min(1e-30)).sum()))
    axes, variances = rows.new_zeros(count, d), rows.new_zeros(count)
    found = vectors[:, :kept] if d <= n else centred.T @ vectors[:, :kept] / values[:kept].sqrt()
    axes[:kept], variances[:kept] = found.T, values[:kept] / n
    rest = float(values[kept:].sum()) / n / max(1, d - count)
    return Principal(mean, axes, variances, rest)
