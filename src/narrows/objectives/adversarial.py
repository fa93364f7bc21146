"""Critics: second players that tell what a model makes from what that should be like. A critic of codes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from narrows.core import Autoencoder, Batch, Code, Loss, Objective, Pass, Player
from narrows.core.check import at_least
from narrows.core.schedules import Schedule
from narrows.nets import build

__all__ = ["Adversary", "CodeAdversary"]


class Adversary(Objective):
    """An objective with a critic as its second player; a subclass says in `judge` what the critic learns.

    The critic reads the pass that the first player just made, and no gradient leaves it for the model.

    Args:
        critic: a net that scores codes or examples.
        weights: schedules by term.
        lr: the autoencoder's own learning rate; the trainer's when None.
        critic_lr: the critic's.
        optimizer: of both players, see `narrows.core.Player`; the trainer's when None.
        samples: how many codes are drawn a batch.
    """

    def __init__(
        self,
        critic: nn.Module,
        *,
        weights: Mapping[str, Schedule],
        lr: Schedule | None = None,
        critic_lr: Schedule | None = None,
        optimizer: str | None = None,
        samples: tuple[int, ...] = (),
    ) -> None:
        super().__init__(samples=samples, lr=lr, weights=weights)
        self.critic, self.critic_lr, self.optimizer = critic, critic_lr, optimizer

    def judge(self, model: Autoencoder, passed: Pass, step: int = 0) -> Loss:
        """The critic's loss of a pass."""
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
        rival = Player("critic", parameters, judge, self.critic_lr, self.optimizer)
        return [replace(first, optimizer=self.optimizer), rival]


class CodeAdversary(Adversary):
    r"""Distortion plus lambda times what a critic of the codes makes of them; the critic learns beside.

    .. math:: \text{autoencoder:}\ E[c(x, G(z))] - \lambda E_{q(z)}[\log D(z)],\qquad
              \text{critic:}\ -E_{p(z)}[\log D(z)] - E_{q(z)}[\log(1 - D(z))]
              + \tfrac{\gamma}{2} E_{p(z)} \|\nabla_z \mathrm{logit} D(z)\|^2

    The autoencoder's term is the non-saturating one. The last term of the critic is not in the paper; without it the
    two are prone to circle each other. What the codes should be like, draws from the prior, and what
    the autoencoder makes of the critic's scores are methods of their own: a total-correlation penalty draws codes
    shuffled by latent instead, and reads the score as a log-ratio of densities.

    Args:
        latent: width of the code, Z.
        weight: lambda, the weight of the term ``fool``.
        critic: a net from codes (B, Z) to scores (B, 1), logits of D; a perceptron of two layers when None.
        critic_lr: the critic's learning rate; the trainer's when None.
        gradient_penalty: gamma.

    Reference:
        Tolstikhin et al., Wasserstein Auto-Encoders, 2018, algorithm 1. arXiv:1711.01558. Makhzani et al.,
        Adversarial Autoencoders, 2016. arXiv:1511.05644. The penalty: Mescheder, Geiger, Nowozin, Which Training
        Methods for GANs do actually Converge?, 2018. arXiv:1801.04406
    """

    def __init__(
        self,
        latent: int,
        weight: Schedule = 1.0,
        critic: nn.Module | None = None,
        critic_lr: Schedule | None = None,
        gradient_penalty: float = 1.0,
    ) -> None:
        if critic is None:
            critic = build.encoder((latent,), 1, "mlp:128,128")
        super().__init__(critic, weights={"fool": weight}, critic_lr=critic_lr)
        self.gradient_penalty = at_least("gradient_penalty", gradient_penalty, 0)

    def reference(self, model: Autoencoder, code: Code) -> Tensor:
        """Codes as they should be, (B, Z): as many draws from the prior."""
        z: Tensor = model.bottleneck.sample(len(code.z)).z
        return z

    def fool(self, scores: Tensor) -> Tensor:
        """What the autoencoder pays for the scores of its codes: -log D."""
        return F.softplus(-scores)

    def scores(self, z: Tensor) -> Tensor:
        """The critic's scores of codes (..., Z), (...): positive where it takes them for the reference."""
        scores: Tensor = self.critic(z).squeeze(-1)
        return scores

    def extra(self, model: Autoencoder, passed: Pass) -> Mapping[str, Tensor]:
        """The term ``fool``, (*samples, B)."""
        return {"fool": self.fool(self.scores(passed.code.z))}

    def judge(self, model: Autoencoder, passed: Pass, step: int = 0) -> Loss:
        """The critic's loss; no gradient leaves it for the codes."""
        with torch.no_grad():
            reference, made = self.reference(model, passed.code), passed.code.z.detach()
        reference = reference.detach().requires_grad_(bool(self.gradient_penalty))
        real, fake = self.scores(reference), self.scores(made)
        terms = {"judge": F.softplus(-real).mean() + F.softplus(fake).mean()}
        if self.gradient_penalty:
            terms["penalty"] = 0.5 * self.gradient_penalty * self._steepness(reference)
        right = 0.5 * ((real > 0).float().mean() + (fake < 0).float().mean())
        total = torch.stack(list(terms.values())).sum()
        return Loss(total, {**{name: term.detach() for name, term in terms.items()}, "accuracy": right})

    def _steepness(self, z: Tensor) -> Tensor:
        """The mean squared gradient of the scores with respect to the codes z."""
        with torch.enable_grad():  # also where a loss is only looked at
            (slope,) = torch.autograd.grad(self.scores(z).sum(), z, create_graph=True)
        return slope.square().sum(-1).mean()
