"""What every second stage is: a density of codes that has one player and draws samples."""

from __future__ import annotations

from torch import Tensor

from narrows.core import Batch, Loss, Part, Player, Tree

__all__ = ["Prior"]


class Prior(Part):
    """p(symbols | given), trained on a finished autoencoder's codes; a subclass defines `nll` and `sample`."""

    def nll(self, symbols: Tensor, given: Tree = None) -> Tensor:
        """-log p of each row of symbols (or a bound of it), in nats, (B,)."""
        raise NotImplementedError(f"{type(self).__name__} must define nll")

    def sample(self, n: int, given: Tree = None) -> Tensor:
        """n draws, as `Bottleneck.read` takes them."""
        raise NotImplementedError(f"{type(self).__name__} must define sample")

    def loss(self, batch: Batch, step: int = 0) -> Loss:
        """The mean nll of a batch of symbols; evaluating it changes nothing."""
        nll = self.nll(batch.x, batch.given).mean()
        return Loss(nll, {"nll": nll.detach()})

    def players(self) -> list[Player]:
        """One player, the prior itself."""
        return [Player("prior", [p for p in self.parameters() if p.requires_grad], self.loss)]
