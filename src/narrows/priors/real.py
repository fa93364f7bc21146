"""The base class of priors over tokens of real numbers."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from torch import Tensor

from narrows.core import Batch, Code, Loss, Pass, Symbols
from narrows.priors import require
from narrows.priors.drawn import StandardCodes

__all__ = ["RealTokens"]


class RealTokens(StandardCodes):
    """A prior over tokens (L, C) of real numbers, or over the numbers of a vector, tokens of one number each.

    Tokens are standardised first: with the mean and the deviation of each channel over all tokens, or of each number of
    a vector. A subclass defines `nll`, or `loss`.

    Args:
        symbols: what the bottleneck stores of an example.
        classes: how many labels the data have.
        labels: whether the prior is told them.
        draws: of a code with a posterior, learn draws from it instead of its mean.
        more: arguments of a further base class.

    Raises:
        RequestError: the symbols are not tokens or a vector, or the data have no labels.
    """

    reads: ClassVar[tuple[str, ...]] = ("vector", "tokens")

    def __init__(self, symbols: Symbols, classes: int, labels: bool, draws: bool, **more: Any) -> None:
        super().__init__(symbols, draws, classes=classes, labels=labels, **more)

    @classmethod
    def shape_of(cls, symbols: Symbols) -> tuple[int, int]:
        """Number and width of the tokens, (L, C).

        Raises:
            RequestError: the symbols are of another kind.
        """
        require(symbols, cls)
        length, *rest = symbols.shape
        return length, math.prod(rest)

    @property
    def shape(self) -> tuple[int, int]:
        """Number and width of the tokens, (L, C)."""
        return self.shape_of(self.symbols)

    def arrange(self, symbols: Tensor) -> Tensor:
        """Symbols (B, *shape) as standardised tokens (B, L, C)."""
        return self.standard(symbols.flatten(1)).view(-1, *self.shape)

    def restore(self, tokens: Tensor) -> Tensor:
        """The inverse of `arrange`."""
        return self.own(tokens.flatten(1))

    def loss(self, batch: Batch, step: int = 0, passed: Pass | None = None) -> Loss:
        """The mean nll of draws of the codes."""
        z = self.drawn(batch).view(-1, *self.symbols.shape)
        nll = self.nll(z, batch.condition).mean()
        return Loss(nll, {"nll": nll.detach()}, Pass(batch, Code(z)))
