"""The encoder of a mixed table with missing cells."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from narrows.core import Spec
from narrows.core.columns import Columns

__all__ = ["TableEncoder"]


class TableEncoder(nn.Module):
    r"""Encodes rows of a mixed table with missing cells: :math:`h = f(\iota(s \odot x),\ s)`.

    The input of the net are the cells, with categories one-hot, and the mask s of observed cells. A missing
    cell is zero ("zero imputation"), which is the mean of a standardised column.

    Args:
        spec: the spec of the table.
        net: makes the inner net from the width of its input.
        indicators: use the mask as input; without it a missing value cannot be distinguished from the mean.

    Example:
        >>> encoder = TableEncoder(Spec((3,)), lambda width: nn.Linear(width, 2))
        >>> encoder(torch.ones(5, 3), {}).shape
        torch.Size([5, 2])

    Reference:
        Mattei and Frellsen, MIWAE, 2019. arXiv:1812.02633
    """

    def __init__(self, spec: Spec, net: Callable[[int], nn.Module], indicators: bool = True) -> None:
        super().__init__()
        self.columns, self.indicators = Columns.of(spec), indicators
        self.net = net(self.columns.width + indicators * len(self.columns))

    def forward(self, x: Tensor, condition: Mapping[str, Tensor]) -> Tensor:
        """Cells (B, D), with the mask ``observed`` in the condition if any are missing -> features (B, F)."""
        observed = condition.get("observed")
        wide = self.columns.expand(x, observed)
        if self.indicators:
            mask = torch.ones_like(x) if observed is None else observed.to(x.dtype)
            wide = torch.cat([wide, mask], -1)
        out: Tensor = self.net(wide)
        return out
