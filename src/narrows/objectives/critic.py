"""A critic of what a model puts out: a second player that tells reconstructions from examples."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from narrows.core import Autoencoder, Loss, Pass, all_sum
from narrows.core.check import at_least, whole
from narrows.core.schedules import Schedule
from narrows.objectives.adversarial import Adversary
from narrows.objectives.perceptual import PerceptualDistance

__all__ = ["OutputAdversary", "gradient_ratio", "last_weight"]


class OutputAdversary(Adversary):
    r"""Distortion, a perceptual distance, and what a critic makes of the reconstruction; the critic learns beside.

    .. math:: \text{autoencoder:}\ \mathcal{L}_{rec} + \text{costs}
              - w \lambda\, E[D(\hat x)],\qquad
              \mathcal{L}_{rec} = -\log p(x \mid z) + p\, D_x\, d(x, \hat x)

    .. math:: \text{critic:}\ \tfrac12 E[\max(0, 1 - D(x))] + \tfrac12 E[\max(0, 1 + D(\hat x))]

    .. math:: \lambda = \frac{\|\nabla_{\theta_L} \mathcal{L}_{rec}\|}
              {\|\nabla_{\theta_L} (-E[D(\hat x)])\| + \delta}

    The weight lambda, a constant to the gradient and at most `most`, makes the critic's pull on the decoder's last
    layer, of weights theta_L, as strong as that of the reconstruction. The distance d is counted once a number of
    the example, D_x, as the distortion is a sum over them. The critic's term and the critic itself wait until step
    `start`. Where no gradient is recorded (held-out data), there is no lambda, and the loss is without that term.

    The critic reads the pass that the autoencoder just made: nothing is encoded or decoded for it.

    Args:
        critic: from examples (*samples, B, ...) to scores (*samples, B, P), one a patch.
        weight: w, the weight of the term ``fool``.
        distance: d, or None.
        perceptual: p, the weight of the distance against the distortion of one number.
        start: the step from which the critic plays.
        delta: keeps lambda finite.
        most: the largest lambda.
        weights: of further terms.
        lr: the autoencoder's own learning rate, or None for the trainer's.
        critic_lr: the critic's.
        optimizer: of both, or None for the trainer's.

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
        """Whether the critic plays, and all weights have come to their last value."""
        return step >= self.start and super().settled(step)

    def extra(self, model: Autoencoder, passed: Pass) -> Mapping[str, Tensor]:
        """The perceptual distance, (*samples, B), as many times as an example has numbers."""
        if self.distance is None:
            return {}
        target, made = self.shown(model, passed)
        return {"perceptual": target[0].numel() * self.distance(target, made)}

    def of(self, model: Autoencoder, passed: Pass, step: int) -> Loss:
        """The autoencoder's loss of a pass."""
        terms = self.terms(model, passed)
        total = self.reduce(self.weigh(terms, step))
        said = {name: term.detach().mean() for name, term in terms.items()}
        said["fool"] = balance = total.new_zeros(())
        if step >= self.start:
            fool = -self.scores(self.shown(model, passed)[1]).mean()
            said["fool"] = fool.detach()
            if torch.is_grad_enabled():
                seen = {name: term for name, term in terms.items() if name in ("distortion", "perceptual")}
                reconstruction = self.reduce(self.weigh(seen, step))
                balance = gradient_ratio(
                    reconstruction, fool, last_weight(model.decoder), self.delta, self.most
                )
                total = total + self.weight("fool", step) * balance * fool
        if torch.is_grad_enabled():
            said["balance"] = balance
        return Loss(total, said, passed)

    def shown(self, model: Autoencoder, passed: Pass) -> tuple[Tensor, Tensor]:
        """The examples (B, ...) and their reconstructions (*samples, B, ...); zeros where the target has no weight."""
        made: Tensor = model.likelihood.mean(passed.output)
        if passed.batch.weight is not None:
            made = torch.where(passed.batch.weight != 0, made, made.new_zeros(()))
        return passed.batch.target, made

    def scores(self, x: Tensor) -> Tensor:
        """The critic's scores of examples (*samples, B, ...), (*samples, B, P): positive for real ones."""
        scores: Tensor = self.critic(x)
        return scores

    def judge(self, model: Autoencoder, passed: Pass, step: int = 0) -> Loss:
        """The critic's loss; no gradient leaves it for the autoencoder."""
        if step < self.start:  # a loss that moves nothing
            total = torch.stack([0 * p.sum() for p in self.critic.parameters()]).sum()
            return Loss(total, {"accuracy": total.detach()})
        with torch.no_grad():
            target, made = self.shown(model, passed)
        real, fake = self.scores(target.detach()), self.scores(made.detach())
        total = 0.5 * (F.relu(1 - real).mean() + F.relu(1 + fake).mean())
        right = 0.5 * ((real > 0).float().mean() + (fake < 0).float().mean())
        return Loss(total, {"accuracy": right})


def gradient_ratio(
    reconstruction: Tensor, adversarial: Tensor, weight: Tensor, delta: float = 1e-6, most: float = 1e4
) -> Tensor:
    r"""How many times larger one loss's gradient is than another's, for the same weights; a constant.

    .. math:: \min\left(\frac{\|\nabla_\theta a\|}{\|\nabla_\theta b\| + \delta},\ \text{most}\right)

    Of several processes, each with its own share of the batch, the gradients are averaged first.

    Args:
        reconstruction: a, a scalar.
        adversarial: b, a scalar.
        weight: theta, any shape.
        delta: keeps the ratio finite.
        most: the largest value.

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
    """The weights of a net's last layer: of its matrices and kernels, the one that was registered last.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 4))
        >>> last_weight(net) is net[2].weight
        True
    """
    return [p for p in net.parameters() if p.ndim > 1][-1]
