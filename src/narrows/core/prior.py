"""`Prior`: p(symbols | condition) of a finished autoencoder, its second stage."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor

from narrows.core.code import Code, Loss, Pass
from narrows.core.parts import Part
from narrows.core.stages import Player
from narrows.core.symbols import Symbols
from narrows.core.values import NO_CONDITION, Batch, Condition

if TYPE_CHECKING:
    from narrows.core.autoencoder import Autoencoder

__all__ = ["Prior"]


class Prior(Part):
    """p(symbols | condition) of a finished autoencoder; subclasses define `sample`, and `nll` or `loss`."""

    reads: ClassVar[tuple[str, ...]] = ()
    """The kinds of `Symbols` that it models."""

    conditions: tuple[str, ...] = ()
    """Names of the conditions it uses: ``labels``."""

    symbols: Symbols | None = None
    """The symbols it was built for, or None if it models those of any shape."""

    plan: Mapping[str, Any] = MappingProxyType({})
    """Default fields of its training plan: lr, ema ...; the user's fields for that stage take precedence.

    Its steps or epochs are the most it is trained for if the user gave neither.
    """

    deterministic: bool = True
    """Whether `view` is deterministic, so that its result can be cached; False if it samples."""

    fitted: ClassVar[bool] = False
    """Whether `prepare` fits it in closed form or by iterations of its own, so that its stage has no steps."""

    rows: int = 4096
    """The number of training rows that `prepare` gets at most."""

    exact: ClassVar[bool] = True
    """Whether `nll`, if there is one, is that of the draws; False for an upper bound of it, or an estimate."""

    def check(self, model: Autoencoder, code: Code, rows: int) -> None:
        """Raise, before anything is trained, if it cannot model such codes.

        Args:
            model: the autoencoder.
            code: the code of a few examples.
            rows: number of training examples.
        """

    def view(self, model: Autoencoder, batch: Batch) -> Batch:
        """The training batch for a batch of data: the symbols of its codes."""
        return model.as_symbols(batch)

    def nll(self, symbols: Tensor, condition: Condition = NO_CONDITION) -> Tensor:
        """-log p of each row of symbols (or a bound of it), in nats, (B,)."""
        raise NotImplementedError(f"{type(self).__name__} must define nll")

    def token_nll(self, symbols: Tensor, condition: Condition = NO_CONDITION) -> Tensor | None:
        """The terms of `nll` by token, in the order in which tokens are drawn, (B, T); None if it has no such terms."""
        return None

    def layers(self, symbols: Tensor) -> list[Tensor] | None:
        """The features of its net after each block, of whole rows of symbols, each (B, L, W); None without blocks.

        A prior that is told labels is told none.
        """
        return None

    def states(
        self, n: int, condition: Condition = NO_CONDITION, *, steps: int = 8
    ) -> list[tuple[Tensor, Tensor | None]]:
        """The states of n draws from step to step, for a prior that draws all symbols in steps; else none.

        Args:
            n: how many.
            condition: as for `sample`.
            steps: number of steps.

        Returns:
            For each step, and for the end: symbols as `sample` draws them, and which of their places are still masked,
            (n, L), or None where a state is the estimate of all symbols.
        """
        return []

    @property
    def has_nll(self) -> bool:
        """Whether `nll` is defined."""
        return type(self).nll is not Prior.nll

    def sample(self, n: int, condition: Condition = NO_CONDITION) -> Tensor:
        """n draws, as `Bottleneck.from_symbols` takes them. A subclass may have options, all by keyword."""
        raise NotImplementedError(f"{type(self).__name__} must define sample")

    def loss(self, batch: Batch, step: int = 0, passed: Pass | None = None) -> Loss:
        """The mean nll of a batch of symbols; evaluating it changes nothing."""
        nll = self.nll(batch.x, batch.condition).mean()
        return Loss(nll, {"nll": nll.detach()}, Pass(batch, Code(batch.x)))

    def players(self) -> list[Player]:
        """One player, the prior itself; none if `prepare` fits it."""
        if self.fitted:
            return []
        return [Player("prior", [p for p in self.parameters() if p.requires_grad], self.loss)]
