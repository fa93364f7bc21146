"""The decoder of a table that has its own few features for each column."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from narrows.core import NO_CONDITION, Condition
from narrows.core.check import whole
from narrows.core.columns import select_columns

__all__ = ["ColumnDecoder"]


class ColumnDecoder(nn.Module):
    r"""A linear map of the code to features of each column, and of these and the cluster to the column's parameters.

    .. math:: y = W z,\qquad \gamma_d = A_d\, y_d + B_d\, c

    Args:
        latent: width of z, Z.
        clusters: number of clusters S; the code is z beside a one-hot (or relaxed) c.
        owner: the column of each of the P parameters.
        width: number of features of a column.

    Raises:
        RequestError: a width below 1.

    Example:
        >>> ColumnDecoder(2, 3, owner=(0, 1, 1), width=5)(torch.zeros(4, 5)).shape
        torch.Size([4, 3])

    Reference:
        Nazabal, Olmos, Ghahramani and Valera, Handling Incomplete Heterogeneous Data using VAEs, 2020. arXiv:1807.03653
    """

    def __init__(self, latent: int, clusters: int, owner: Sequence[int], width: int = 5) -> None:
        super().__init__()
        self.sizes, self.owner = (latent, clusters), tuple(owner)
        self.width = whole("width", width)
        self.shared = nn.Linear(latent, (max(owner) + 1) * self.width, bias=False)
        self.own = nn.Parameter(torch.randn(len(self.owner), self.width) * self.width**-0.5)
        self.of_cluster = nn.Linear(clusters, len(self.owner), bias=False)
        nn.init.zeros_(self.of_cluster.weight)

    def forward(self, z: Tensor, condition: Condition = NO_CONDITION) -> Tensor:
        """Codes (..., Z + S) to parameters (..., P)."""
        code, c = z.split(self.sizes, -1)
        y = self.shared(code).unflatten(-1, (-1, self.width)).movedim(-1, -2)
        found: Tensor = (select_columns(y, self.owner) * self.own.T).sum(-2) + self.of_cluster(c)
        return found
