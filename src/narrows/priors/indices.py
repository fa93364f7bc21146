"""The base class of priors over all indices at once."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from narrows.core import Symbols
from narrows.priors.labels import LabelledPrior

__all__ = ["BUDGET", "IndexPrior"]

BUDGET = 2000
"""The most steps of a prior over indices where the user gives no budget: minutes on two cores for 200 indices."""


class IndexPrior(LabelledPrior):
    """A prior over indices, with one or several for each of L positions: `tokens` is L.

    Args:
        symbols: what a code is.
        classes: how many labels the data have.
        labels: whether the prior is told them.
        width: channels of its transformer.

    Raises:
        RequestError: the prior does not support the symbols, or the data have no labels.
    """

    reads: ClassVar[tuple[str, ...]] = ("indices", "stacks")

    def __init__(self, symbols: Symbols, classes: int, labels: bool, width: int) -> None:
        super().__init__(symbols, classes, labels)
        self.codes, self.tokens = symbols.codes, symbols.shape[0]
        self.tell = nn.Linear(self.classes, width, bias=False) if self.classes else None

    @staticmethod
    def initialise(*weights: Tensor) -> None:
        """Draw weights from N(0, 0.02^2)."""
        for weight in weights:
            nn.init.normal_(weight, std=0.02)
