"""The game of an adversarial latent autoencoder: generator against encoder, and agreement of their codes."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from narrows.core import Autoencoder, Batch, Loss, Objective, Pass, Player
from narrows.core.check import at_least
from narrows.core.schedules import Schedule

__all__ = ["Reciprocity"]


class Reciprocity(Objective):
    r"""A generator G F, a critic D E, and a distance of codes that makes E the inverse of G.

    .. math:: \text{generator (F, G):}\ E_e\left[\zeta(-D(E(\hat x)))\right] + \lambda\, r,\qquad
              \hat x = G(F(e)),\qquad r = E_e \|F(e) - E(\hat x)\|^2

    .. math:: \text{critic (E, D):}\ E_e\left[\zeta(D(E(\hat x)))\right] + E_x\left[\zeta(-D(E(x)))
              + \tfrac{\gamma}{2} \|\nabla_x D(E(x))\|^2\right] + \lambda\, r

    zeta is softplus, e ~ N(0, I). E is the encoder, G the decoder, and F the map of the bottleneck's prior. The codes
    F(e) in r are constants: r trains E and G. The paper has three steps in turn; here the third, on r, is a term of
    both players. Pixels are never compared.

    Args:
        critic: D, from codes (B, Z) to scores (B, 1).
        reciprocity: lambda, the weight of r, the term ``distortion``.
        gradient_penalty: gamma.
        optimizer: optimizer of both players; the trainer's if None.

    Raises:
        RequestError: `gradient_penalty` is negative.

    Reference:
        Pidhorskyi, Adjeroh, Doretto, Adversarial Latent Autoencoders, 2020, algorithm 1. arXiv:2004.04467
    """

    smooth: ClassVar[bool] = False

    def __init__(
        self,
        critic: nn.Module,
        reciprocity: Schedule = 1.0,
        *,
        gradient_penalty: float = 10.0,
        optimizer: str | None = None,
    ) -> None:
        super().__init__(weights={"distortion": reciprocity})
        self.critic, self.optimizer = critic, optimizer
        self.gradient_penalty = at_least("gradient_penalty", gradient_penalty, 0)

    def forward(self, model: Autoencoder, batch: Batch, step: int = 0) -> Loss:
        """The generator's loss, for as many draws of the prior as there are examples."""
        w: Tensor = model.bottleneck.sample(len(batch.x)).z
        terms = {
            "fool": F.softplus(-self.critic(self.encoded(model, w)).squeeze(-1)),
            "distortion": self.apart(w.detach(), self.encoded(model, w.detach())),
        }
        total = self.reduce(self.weigh(terms, step))
        return Loss(total, {name: term.detach().mean() for name, term in terms.items()})

    def encoded(self, model: Autoencoder, w: Tensor) -> Tensor:
        """E(G(w)), (B, Z)."""
        found: Tensor = model.encoder(model.likelihood.mean(model.decode(w)))
        return found

    @staticmethod
    def apart(w: Tensor, again: Tensor) -> Tensor:
        """The squared distance of codes (B, Z), (B,)."""
        return (w - again).square().sum(-1)

    def judge(self, model: Autoencoder, batch: Batch, step: int = 0) -> Loss:
        """The critic's loss."""
        batch = batch.visible()
        with torch.no_grad():
            w: Tensor = model.bottleneck.sample(len(batch.x)).z
            made: Tensor = model.likelihood.mean(model.decode(w))
        again = model.encoder(made)
        x = batch.x.detach().requires_grad_(bool(self.gradient_penalty))
        with torch.enable_grad():  # also for losses computed under no_grad
            real, fake = self.critic(model.encoder(x)), self.critic(again)
            terms = {"judge": F.softplus(-real).mean() + F.softplus(fake).mean()}
            if self.gradient_penalty:
                (slope,) = torch.autograd.grad(real.sum(), x, create_graph=True)
                terms["penalty"] = 0.5 * self.gradient_penalty * slope.flatten(1).square().sum(1).mean()
            terms["distortion"] = self.apart(w, again).mean()
            total = self.weigh(terms, step)
        accuracy = 0.5 * ((real > 0).float().mean() + (fake < 0).float().mean())
        return Loss(total, {**{name: term.detach() for name, term in terms.items()}, "accuracy": accuracy})

    def players(self, model: Autoencoder) -> list[Player]:
        """The generator, named ``autoencoder`` as every first player, then encoder and critic."""

        def judge(batch: Batch, step: int, passed: Pass | None = None) -> Loss:
            return self.judge(model, batch, step)

        (first,) = super().players(model)
        second = [*model.encoder.parameters(), *self.critic.parameters()]
        theirs = {id(p) for p in second}
        mine = [p for p in first.parameters if id(p) not in theirs]
        return [
            replace(first, parameters=mine, optimizer=self.optimizer),
            Player("critic", second, judge, self.lr, self.optimizer),
        ]
