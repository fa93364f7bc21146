"""Base classes of priors over indices, and of autoregressive ones."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn

from narrows.core import NO_CONDITION, Condition, Symbols
from narrows.priors.labels import LabelledPrior, guided
from narrows.priors.samplers.ancestral import draw, sharpened

__all__ = ["CausalPrior", "IndexPrior"]


class IndexPrior(LabelledPrior):
    """A prior over indices, with one or several per position.

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
        self.codes, self.tokens = symbols.codes, math.prod(symbols.shape)
        self.tell = nn.Linear(self.classes, width, bias=False) if self.classes else None

    @staticmethod
    def initialise(*weights: Tensor) -> None:
        """Draw weights from N(0, 0.02^2)."""
        for weight in weights:
            nn.init.normal_(weight, std=0.02)


class CausalPrior(IndexPrior):
    """A prior that draws one index after another, from a start token, which encodes the labels.

    A subclass defines `generate`. Arguments are those of `IndexPrior`.
    """

    def __init__(self, symbols: Symbols, classes: int, labels: bool, width: int) -> None:
        super().__init__(symbols, classes, labels, width)
        self.start = nn.Parameter(torch.empty(width))

    @torch.no_grad()
    def sample(
        self,
        n: int,
        condition: Condition = NO_CONDITION,
        *,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        guidance: float = 1.0,
    ) -> Tensor:
        """n rows of indices, (n, *shape), drawn one after another with cached keys and values.

        See `narrows.priors.SAMPLING` for the options.

        Args:
            n: how many.
            condition: their ``labels``, one-hot (n, G); drawn evenly where the prior is told labels and none are
                given.
        """
        labels = self.asked(condition, n, guidance, self.start.device)
        copies = 1 if guidance == 1 else 2

        def choose(logits: Tensor) -> Tensor:
            return draw(sharpened(guided(logits, guidance), temperature, top_k, top_p)).repeat(copies)

        return self.generate(self.first(copies * n, labels), choose)[:n]

    def generate(self, start: Tensor, choose: Callable[[Tensor], Tensor]) -> Tensor:
        """Indices (R, *shape) from R start tokens (R, width).

        Args:
            start: start tokens.
            choose: draws an index for each row, (R,), from logits (R, K).
        """
        raise NotImplementedError(f"{type(self).__name__} must implement `generate`")

    def first(self, n: int, labels: Tensor | None) -> Tensor:
        """The start tokens of n rows, (n, width)."""
        start = self.start.expand(n, -1)
        return start if self.tell is None or labels is None else start + self.tell(labels.to(start.dtype))
