"""An adversarial objective with a critic of reconstructions."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from narrows.core import Autoencoder, Loss, Pass, all_sum
from narrows.core.check import at_least, whole
from narrows.core.schedules import Schedule
from narrows.objectives.adversarial import Adversary
from narrows.objectives.perceptual import PerceptualDistance, compared

__all__ = ["OutputAdversary", "gradient_ratio", "last_weight"]


class OutputAdversary(Adversary):
    r"""Distortion, a perceptual distance, and an adversarial loss on the reconstructions.

    .. math:: \text{autoencoder:}\ \mathcal{L}_{rec} + \text{costs}
              - w \lambda\, E[D(\hat x)],\qquad
              \mathcal{L}_{rec} = -\log p(x \mid z) + p\, D_x\, d(x, \hat x)

    .. math:: \text{critic:}\ \tfrac12 E[\max(0, 1 - D(x))] + \tfrac12 E[\max(0, 1 + D(\hat x))]

    .. math:: \lambda = \frac{\|\nabla_{\theta_L} \mathcal{L}_{rec}\|}
              {\|\nabla_{\theta_L} (-E[D(\hat x)])\| + \delta}

    The weight lambda, detached and at most `most`, gives the adversarial loss the same gradient norm as the
    reconstruction loss at the decoder's last layer, of weights theta_L. The distance d is multiplied by the
    number of elements of an example, D_x, as the distortion is a sum over them. The adversarial term and the
    training of the critic start at step `start`. Without gradients (held-out data), lambda is not defined and
    the loss omits that term.

    The critic reads the autoencoder's pass: nothing is encoded or decoded again.

    Args:
        critic: from examples (*samples, B, ...) to scores (*samples, B, P), one per patch.
        weight: w, the weight of the term ``fool``.
        distance: d, or None.
        perceptual: p, the weight of the distance relative to the distortion of one element.
        start: the first step with an adversarial loss.
        delta: a small constant for numerical stability.
        most: the maximum of lambda.
        weights: weights of further terms.
        lr: the autoencoder's learning rate; the trainer's if None.
        critic_lr: the critic's learning rate; the trainer's if None.
        optimizer: optimizer of both players; the trainer's if None.

    Reference:
        Esser, Rombach, Ommer, Taming Transformers for High-Resolution Image Synthesis, 2021, section 3.1.
        arXiv:2012.09841. The hinge loss: Lim and Ye, Geometric GAN, 2017. arXiv:1705.02894
    """

    def __init__(
        self,
        critic: nn.Module,
        weight: Schedule = 1.0,
        *,
        distance: PerceptualDistance | None = None,
        perceptual: Schedule = 1.0,
        start: int = 0,
        delta: float = 1e-6,
        most: float = 1e4,
        weights: Mapping[str, Schedule] | None = None,
        lr: Schedule | None = None,
        critic_lr: Schedule | None = None,
        optimizer: str | None = None,
    ) -> None:
        own: dict[str, Schedule] = {"fool": weight, "perceptual": perceptual}
        super().__init__(
            critic, weights={**own, **(weights or {})}, lr=lr, critic_lr=critic_lr, optimizer=optimizer
        )
        self.distance, self.start = distance, whole("start", start, low=0)
        self.delta, self.most = at_least("delta", delta, 0), at_least("most", most, 0)

    def settled(self, step: int) -> bool:
        """Whether the critic is trained, and all weights have their final values."""
        return step >= self.start and super().settled(step)

    def extra(self, model: Autoencoder, passed: Pass) -> Mapping[str, Tensor]:
        """The perceptual distance times the number of elements of an example, (*samples, B)."""
        if self.distance is None:
            return {}
        target, made = self.compared(model, passed)
        return {"perceptual": target[0].numel() * self.distance(target, made)}

    def of(self, model: Autoencoder, passed: Pass, step: int) -> Loss:
        """The autoencoder's loss for a pass."""
        terms = self.terms(model, passed)
        total = self.reduce(self.weigh(terms, step))
        metrics = {name: term.detach().mean() for name, term in terms.items()}
        metrics["fool"] = balance = total.new_zeros(())
        if step >= self.start:
            fool = -self.scores(self.compared(model, passed)[1]).mean()
            metrics["fool"] = fool.detach()
            if torch.is_grad_enabled():
                seen = {name: term for name, term in terms.items() if name in ("distortion", "perceptual")}
                reconstruction = self.reduce(self.weigh(seen, step))
                balance = gradient_ratio(
                    reconstruction, fool, last_weight(model.decoder), self.delta, self.most
                )
                total = total + self.weight("fool", step) * balance * fool
        if torch.is_grad_enabled():
            metrics["balance"] = balance
        return Loss(total, metrics, passed)

    def compared(self, model: Autoencoder, passed: Pass) -> tuple[Tensor, Tensor]:
        """The examples (B, ...) and their reconstructions (*samples, B, ...); zeros where the weight is 0."""
        return compared(model, passed)

    def scores(self, x: Tensor) -> Tensor:
        """The critic's scores of examples (*samples, B, ...), (*samples, B, P): positive if rated real."""
        scores: Tensor = self.critic(x)
        return scores

    def judge(self, model: Autoencoder, passed: Pass, step: int = 0) -> Loss:
        """The critic's loss; reconstructions are detached."""
        if step < self.start:  # a loss with zero gradients
            total = torch.stack([0 * p.sum() for p in self.critic.parameters()]).sum()
            return Loss(total, {"accuracy": total.detach()})
        with torch.no_grad():
            target, made = self.compared(model, passed)
        real, fake = self.scores(target.detach()), self.scores(made.detach())
        total = 0.5 * (F.relu(1 - real).mean() + F.relu(1 + fake).mean())
        accuracy = 0.5 * ((real > 0).float().mean() + (fake < 0).float().mean())
        return Loss(total, {"accuracy": accuracy})


def gradient_ratio(
    reconstruction: Tensor, adversarial: Tensor, weight: Tensor, delta: float = 1e-6, most: float = 1e4
) -> Tensor:
    r"""The ratio of the gradient norms of two losses with respect to the same weights, detached.

    .. math:: \min\left(\frac{\|\nabla_\theta a\|}{\|\nabla_\theta b\| + \delta},\ \text{most}\right)

    With several processes, gradients are averaged over them first.

    Args:
        reconstruction: a, a scalar.
        adversarial: b, a scalar.
        weight: theta, any shape.
        delta: a small constant for numerical stability.
        most: the maximum.

    Example:
        >>> w = torch.tensor([3.0, 4.0], requires_grad=True)
        >>> gradient_ratio(w.square().sum(), w.sum() * 5 / 2**0.5, w)
        tensor(2.0000)
    """
    norms = []
    for loss in (reconstruction, adversarial):
        (gradient,) = torch.autograd.grad(loss, weight, retain_graph=True)
        norms.append((all_sum(gradient) / all_sum(gradient.new_ones(()))).norm())
    return (norms[0] / (norms[1] + delta)).clamp(max=most).detach()


def last_weight(net: nn.Module) -> nn.Parameter:
    """The weight of a net's last layer: the matrix or kernel that was registered last.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 4))
        >>> last_weight(net) is net[2].weight
        True
    """
    return [p for p in net.parameters() if p.ndim > 1][-1]
