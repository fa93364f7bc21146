"""Adversarial objectives: a critic is a second player. A critic of codes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from narrows.core import Autoencoder, Batch, Code, Loss, Objective, Pass, Player
from narrows.core.check import at_least, refuse
from narrows.core.schedules import Schedule
from narrows.nets import build
from narrows.nets.kinds import Perceptron

__all__ = ["Adversary", "CodeAdversary", "code_critic"]


def code_critic(latent: int, layers: tuple[int, ...] = (128, 128)) -> nn.Module:
    """A perceptron that scores codes, (..., Z) -> (..., 1).

    Args:
        latent: width of the code, Z.
        layers: widths of the hidden layers.

    Raises:
        RequestError: no layer, or a width below 1.
    """
    if not layers:
        raise refuse("critic_layers", layers, "widths of at least one hidden layer", "Try 128,128.")
    return build.encoder((latent,), 1, Perceptron(layers))


class Adversary(Objective):
    """An objective with a critic as its second player; a subclass defines the critic's loss, `judge`.

    The critic reads the pass of the first player, and its gradients do not reach the model.

    Args:
        critic: a net that scores codes or examples.
        weights: schedules by term.
        lr: the autoencoder's learning rate; the trainer's if None.
        critic_lr: the critic's learning rate; the trainer's if None.
        optimizer: optimizer of both players, see `narrows.core.Player`; the trainer's if None.
    """

    def __init__(
        self,
        critic: nn.Module,
        *,
        weights: Mapping[str, Schedule],
        lr: Schedule | None = None,
        critic_lr: Schedule | None = None,
        optimizer: str | None = None,
    ) -> None:
        super().__init__(lr=lr, weights=weights)
        self.critic, self.critic_lr, self.optimizer = critic, critic_lr, optimizer

    def judge(self, model: Autoencoder, passed: Pass, step: int = 0) -> Loss:
        """The critic's loss for a pass."""
        raise NotImplementedError(f"{type(self).__name__} must define judge")

    def players(self, model: Autoencoder) -> list[Player]:
        """The autoencoder, then its critic."""

        def judge(batch: Batch, step: int, passed: Pass | None = None) -> Loss:
            if passed is None:
                with torch.no_grad():
                    passed = model(batch, self.samples)
            return self.judge(model, passed, step)

        (first,) = super().players(model)
        parameters = list(self.critic.parameters())
        second = Player("critic", parameters, judge, self.critic_lr, self.optimizer)
        return [replace(first, optimizer=self.optimizer), second]


class CodeAdversary(Adversary):
    r"""Distortion plus lambda times an adversarial loss on the codes.

    .. math:: \text{autoencoder:}\ E[c(x, G(z))] - \lambda E_{q(z)}[\log D(z)],\qquad
              \text{critic:}\ -E_{p(z)}[\log D(z)] - E_{q(z)}[\log(1 - D(z))]
              + \tfrac{\gamma}{2} E_{p(z)} \|\nabla_z \mathrm{logit} D(z)\|^2

    The autoencoder's term is the non-saturating loss. The last term of the critic is not in the paper;
    without it the training tends to oscillate. Subclasses may redefine the reference distribution (by default
    the prior), the codes that are compared with it, and the autoencoder's loss given the scores.

    Args:
        latent: width of the code, Z.
        weight: lambda, the weight of the term.
        critic: a net from codes (B, Z) to scores (B, 1), logits of D; an MLP with two hidden layers if None.
        critic_lr: the critic's learning rate; the trainer's if None.
        gradient_penalty: gamma.

    Reference:
        Tolstikhin et al., Wasserstein Auto-Encoders, 2018, algorithm 1. arXiv:1711.01558. Makhzani et al.,
        Adversarial Autoencoders, 2016. arXiv:1511.05644. The penalty: Mescheder, Geiger, Nowozin, Which
        Training Methods for GANs do actually Converge?, 2018. arXiv:1801.04406
    """

    term: ClassVar[str] = "fool"
    """The name of the adversarial term."""

    def __init__(
        self,
        latent: int,
        weight: Schedule = 1.0,
        critic: nn.Module | None = None,
        critic_lr: Schedule | None = None,
        gradient_penalty: float = 1.0,
    ) -> None:
        if critic is None:
            critic = code_critic(latent)
        super().__init__(critic, weights={self.term: weight}, critic_lr=critic_lr)
        self.gradient_penalty = at_least("gradient_penalty", gradient_penalty, 0)

    def reference(self, model: Autoencoder, code: Code) -> Tensor:
        """Samples of the reference distribution, (B, Z): draws from the prior."""
        z: Tensor = model.bottleneck.sample(len(code.z)).z
        return z

    def compared(self, model: Autoencoder, passed: Pass) -> tuple[Tensor, Tensor]:
        """What the critic compares: samples of the reference distribution, and the codes, (*samples, B, Z)."""
        return self.reference(model, passed.code), passed.code.z

    def fool(self, scores: Tensor) -> Tensor:
        """The autoencoder's loss given the scores of its codes: -log D."""
        return F.softplus(-scores)

    def scores(self, z: Tensor) -> Tensor:
        """The critic's scores of codes (..., Z), (...): positive if classified as the reference."""
        scores: Tensor = self.critic(z).squeeze(-1)
        return scores

    def extra(self, model: Autoencoder, passed: Pass) -> Mapping[str, Tensor]:
        """The adversarial term, (*samples, B)."""
        return {self.term: self.fool(self.scores(passed.code.z))}

    def judge(self, model: Autoencoder, passed: Pass, step: int = 0) -> Loss:
        """The critic's loss; codes are detached."""
        with torch.no_grad():
            reference, made = self.compared(model, passed)
        reference = reference.detach().requires_grad_(bool(self.gradient_penalty))
        real, fake = self.scores(reference), self.scores(made.detach())
        terms = {"judge": F.softplus(-real).mean() + F.softplus(fake).mean()}
        if self.gradient_penalty:
            terms["penalty"] = 0.5 * self.gradient_penalty * self._squared_gradient(reference)
        accuracy = 0.5 * ((real > 0).float().mean() + (fake < 0).float().mean())
        total = torch.stack(list(terms.values())).sum()
        return Loss(total, {**{name: term.detach() for name, term in terms.items()}, "accuracy": accuracy})

    def _squared_gradient(self, z: Tensor) -> Tensor:
        """The mean squared gradient of the scores with respect to the codes z."""
        with torch.enable_grad():  # also for losses computed under no_grad
            (slope,) = torch.autograd.grad(self.scores(z).sum(), z, create_graph=True)
        return slope.square().sum(-1).mean()
