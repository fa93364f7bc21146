"""The encoder of a table: categories as indicators, and which cells are there."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from narrows.core import Spec
from narrows.core.columns import Columns

__all__ = ["TableEncoder"]


class TableEncoder(nn.Module):
    r"""A net that reads a table with holes: :math:`h = f(\iota(s \odot x),\ s)`.

    Cells are written side by side, categories as indicators; a missing one is zero, the mean where the data are
    standardised ("zero imputation"). With them the net is told which cells are there.

    Args:
        spec: the table.
        net: makes the inner net from the width of its input.
        indicators: tell the net which cells are there; without them a missing number looks like an average one.

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
        """Cells (B, D), and ``observed`` (B, D) where cells are missing -> features (B, F)."""
        observed = condition.get("observed")
        wide = self.columns.expand(x, observed)
        if self.indicators:
            there = torch.ones_like(x) if observed is None else observed.to(x.dtype)
            wide = torch.cat([wide, there], -1)
        out: Tensor = self.net(wide)
        return out
