"""The distortion is a distance in a layer of a critic, which learns to tell data from what was made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from narrows.core import Autoencoder, Loss, Pass
from narrows.core.check import refuse
from narrows.core.schedules import Schedule
from narrows.objectives.adversarial import Adversary
from narrows.objectives.perceptual import compared

__all__ = ["LearnedSimilarity"]


class LearnedSimilarity(Adversary):
    r"""A distance in a critic's layer as the distortion, and an adversarial loss of the decoder alone.

    .. math:: \text{encoder:}\ \tfrac12 \|D_l(x) - D_l(\hat x)\|^2 + \beta\, \mathrm{KL},\qquad
              \text{decoder:}\ \tfrac12 \|D_l(x) - D_l(\hat x)\|^2 - \lambda\, E[\log D(\hat x) + \log D(x_p)]

    .. math:: \text{critic:}\ -E[\log D(x) + \log(1 - D(\hat x)) + \log(1 - D(x_p))]

    x_p is decoded from a draw of the prior. The adversarial term does not reach the encoder: it is computed from
    detached codes, which are decoded a second time. The decoder's loss is the paper's, divided by its
    gamma = 1 / lambda; the loss of a generator is the non-saturating one. The critic learns from its own loss alone,
    not from the distortion.

    Args:
        critic: from examples (*samples, B, ...) to scores (*samples, B, P), logits of D, with a method `features`
            for the layer D_l, (*samples, B, F).
        weight: lambda, of the term ``fool``.
        beta: weight of the KL divergence.
        optimizer: optimizer of both players; the trainer's if None.

    Raises:
        RequestError: the critic has no features.

    Reference:
        Larsen et al., Autoencoding beyond pixels using a learned similarity metric, 2016. arXiv:1512.09300
    """

    smooth: ClassVar[bool] = False

    def __init__(
        self,
        critic: nn.Module,
        weight: Schedule = 1.0,
        *,
        beta: Schedule = 1.0,
        optimizer: str | None = None,
    ) -> None:
        super().__init__(critic, weights={"fool": weight, "kl": beta}, optimizer=optimizer)
        features = getattr(critic, "features", None)
        if not callable(features):
            raise refuse("critic", type(critic).__name__, "a net with a method `features`", "Try `patch`.")

    def distortion(self, model: Autoencoder, passed: Pass) -> Tensor:
        """Half the squared distance in the critic's layer, (*samples, B)."""
        target, made = compared(model, passed)
        features = cast(Callable[[Tensor], Tensor], self.critic.features)
        return 0.5 * (features(made) - features(target)).square().sum(-1)

    def extra(self, model: Autoencoder, passed: Pass) -> Mapping[str, Tensor]:
        """The adversarial loss of a reconstruction and a sample, averaged over patches, (B,)."""
        made, drawn = self.made(model, passed)
        return {"fool": F.softplus(-self.critic(made)).mean(-1) + F.softplus(-self.critic(drawn)).mean(-1)}

    def made(self, model: Autoencoder, passed: Pass) -> tuple[Tensor, Tensor]:
        """What is decoded from detached codes, and from as many draws of the prior, each (B, ...)."""
        code = passed.code.z.detach()
        drawn = model.bottleneck.sample(len(code)).z.detach()
        told = {name: torch.cat([rows, rows]) for name, rows in passed.batch.condition.items()}
        output = model.decode(torch.cat([code, drawn]), told)
        mine, others = (
            compared(model, Pass(passed.batch, passed.code, output[: len(code)]))[1],
            output[len(code) :],
        )
        return mine, model.likelihood.mean(others)

    def judge(self, model: Autoencoder, passed: Pass, step: int = 0) -> Loss:
        """The critic's loss; what was made is detached."""
        with torch.no_grad():
            target, (made, drawn) = passed.batch.target, self.made(model, passed)
        real, fakes = self.critic(target), [self.critic(made), self.critic(drawn)]
        total = F.softplus(-real).mean() + sum(F.softplus(fake).mean() for fake in fakes)
        accuracy = 0.5 * (real > 0).float().mean() + 0.25 * sum((fake < 0).float().mean() for fake in fakes)
        return Loss(total, {"accuracy": accuracy})
