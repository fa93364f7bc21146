"""Principal components: the initialisation of table autoencoders, and their baseline."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["MOST", "Principal", "principal"]

MOST = 2048
"""The number of rows used if rows and columns both exceed it, since the cost is cubic in the smaller of
them."""


class Principal(NamedTuple):
    """Principal components: mean (D,), axes (Z, D), variances (Z,), and the mean of the other variances."""

    mean: Tensor
    axes: Tensor
    variances: Tensor
    rest: float

    def project(self, x: Tensor) -> Tensor:
        """The projection of examples (M, D) on the components, in float64.

        Example:
            >>> found = principal(torch.tensor([[1.0, 0.0], [3.0, 0.0], [2.0, 0.5], [2.0, -0.5]]), 1)
            >>> found.project(torch.tensor([[5.0, 7.0]])).tolist()
            [[5.0, 0.0]]
        """
        return (x.double() - self.mean) @ self.axes.T @ self.axes + self.mean


def principal(x: Tensor, count: int) -> Principal:
    """The first principal components of rows, in float64; axes beyond the rank of the data are zero.

    If rows and columns both exceed `MOST`, the rows are subsampled at equal distances.

    Args:
        x: rows (N, D).
        count: the number of components, Z.

    Example:
        >>> found = principal(torch.tensor([[1.0, 0.0], [3.0, 0.0], [2.0, 0.5], [2.0, -0.5]]), 1)
        >>> found.mean.tolist(), found.axes.abs().tolist(), found.variances.tolist(), found.rest
        ([2.0, 0.0], [[1.0, 0.0]], [0.5], 0.125)
    """
    rows = x.double()
    if min(rows.shape) > MOST:
        rows = rows[:: -(-len(rows) // MOST)]
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
