"""Why cells are missing: P(s | x), the probability that a cell is observed, given the row.

`MECHANISMS` is the table of ``mechanism="nonlinear:hidden=32"``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from narrows.core.check import whole
from narrows.core.spelling import Table

__all__ = ["MECHANISMS", "Linear", "Mechanism", "Nonlinear", "SelfKnown", "SelfMasking"]

_HERE = __name__

MECHANISMS: Table[Mechanism] = Table(
    "mechanism",
    f"{_HERE}:Mechanism",
    {
        "self": f"{_HERE}:SelfMasking",
        "self-known": f"{_HERE}:SelfKnown",
        "linear": f"{_HERE}:Linear",
        "nonlinear": f"{_HERE}:Nonlinear",
    },
    supplied=("owner",),
)
"""Mechanisms of missing cells, by name."""


class Mechanism(nn.Module):
    """The logits of the probabilities that each of D cells of a row is observed.

    A subclass defines `forward`. The bias starts at the share of observed cells of each column.

    Args:
        owner: the column of each of the E numbers by which a row is described: a number has one, levels one each.

    Reference:
        Ipsen, Mattei and Frellsen, not-MIWAE, 2021. arXiv:2006.12871
    """

    index: Tensor

    def __init__(self, owner: Sequence[int]) -> None:
        super().__init__()
        self.register_buffer("index", torch.tensor(owner, dtype=torch.long), persistent=False)
        self.bias = nn.Parameter(torch.zeros(max(owner) + 1))

    def forward(self, row: Tensor) -> Tensor:
        """Standardised rows (..., E) to logits (..., D)."""
        raise NotImplementedError(f"{type(self).__name__} must define forward")


class SelfMasking(Mechanism):
    r"""A cell is missing because of its own value.

    .. math:: \mathrm{logit}\, P(s_d = 1 \mid x) = b_d - W_d\, x_d

    Of a column of levels, each has a weight W.

    Args:
        owner: the column of each number of a row.

    Example:
        >>> SelfMasking((0, 1, 1))(torch.ones(5, 3)).shape
        torch.Size([5, 2])
    """

    def __init__(self, owner: Sequence[int]) -> None:
        super().__init__(owner)
        self.weight = nn.Parameter(torch.zeros(len(owner)))

    @property
    def slopes(self) -> Tensor:
        """W, (E,)."""
        return self.weight

    def forward(self, row: Tensor) -> Tensor:
        """Standardised rows (..., E) to logits (..., D)."""
        start = self.bias.expand(*row.shape[:-1], -1)
        return start.index_add(-1, self.index, -self.slopes * row)


class SelfKnown(SelfMasking):
    r"""The same where it is known that large values are missing more often: W = softplus(w), above 0.

    Args:
        owner: the column of each number of a row.

    Example:
        >>> bool((SelfKnown((0,))(torch.tensor([[2.0]])) < SelfKnown((0,))(torch.tensor([[1.0]]))).all())
        True
    """

    @property
    def slopes(self) -> Tensor:
        """W, (E,)."""
        return F.softplus(self.weight)


class Linear(Mechanism):
    r"""A cell is missing because of any values of its row: :math:`\mathrm{logit}\, P(s = 1 \mid x) = A x + b`.

    Args:
        owner: the column of each number of a row.

    Example:
        >>> Linear((0, 1, 1))(torch.ones(5, 3)).shape
        torch.Size([5, 2])
    """

    def __init__(self, owner: Sequence[int]) -> None:
        super().__init__(owner)
        self.net = nn.Linear(len(owner), max(owner) + 1, bias=False)
        nn.init.zeros_(self.net.weight)

    def forward(self, row: Tensor) -> Tensor:
        """Standardised rows (..., E) to logits (..., D)."""
        found: Tensor = self.net(row) + self.bias
        return found


class Nonlinear(Linear):
    """The same by a perceptron with one hidden layer.

    Args:
        owner: the column of each number of a row.
        hidden: width of the hidden layer.

    Raises:
        RequestError: a width below 1.

    Example:
        >>> Nonlinear((0, 1, 1), hidden=4)(torch.ones(5, 3)).shape
        torch.Size([5, 2])
    """

    def __init__(self, owner: Sequence[int], hidden: int = 32) -> None:
        width = whole("hidden", hidden)
        super().__init__(owner)
        last = nn.Linear(width, max(owner) + 1, bias=False)
        nn.init.zeros_(last.weight)
        self.net = nn.Sequential(nn.Linear(len(owner), width), nn.Tanh(), last)  # type: ignore[assignment]
