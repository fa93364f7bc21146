"""Expectation maximisation with a policy that is trained to draw from the posterior."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution

from narrows.bottlenecks.variational import Variational
from narrows.core import Autoencoder, Batch, Loss, Objective, Pass, Player
from narrows.core.check import at_least, whole
from narrows.core.schedules import Schedule, at, constant_from, schedule

__all__ = ["TrajectoryBalance"]


class TrajectoryBalance(Objective):
    r"""A decoder that is trained on drawn codes, and a policy that draws them as often as the decoder says.

    .. math:: \text{M-step (decoder):}\ -\log p(x|z),\quad z \sim q(z|x)

    .. math:: \text{E-step (policy):}\ \Big(\log Z(x) + \log q(z|x) - \tfrac1T \log p(x|z)\, p(z)\Big)^2
              - \lambda \log q(z'|x'),\qquad z' \sim p(z),\; x' \sim p(x'|z')

    With T = 1 the first term is 0 for all codes if and only if q is the posterior. Its draws are the policy's own, and
    log Z(x) is what minimises it for the draws of one x, the mean of log p(x, z) / T - log q(z|x) over them; the paper
    learns it. The second is the sleep phase. The two steps take turns in every step of training; the paper's take some
    hundred each. The decoder is the first player, whose loss is the negative evidence lower bound of one draw.

    Args:
        draws: codes of an example in the E-step, K.
        temperature: T, a number or a schedule that ends at 1.
        sleep: lambda, the weight of the sleep phase, a number or a schedule.
        lr: the policy's learning rate; the trainer's if None.

    Raises:
        RequestError: fewer than 2 draws, or a schedule that is none.

    Reference:
        Hu, Malkin, Jain, Everett, Graikos, Bengio, GFlowNet-EM for Learning Compositional Latent Variable Models, 2023,
        sections 3 and 4. arXiv:2302.06576. The mean over draws: Richter, Boustati, Nusken, Ruiz, Akyildiz, VarGrad,
        2020. arXiv:2010.10436
    """

    smooth: ClassVar[bool] = False

    def __init__(
        self,
        draws: int = 4,
        temperature: Schedule = "linear:4:1:1000",
        sleep: Schedule = 1.0,
        lr: Schedule | None = None,
    ) -> None:
        super().__init__(weights={"sleep": sleep})
        self.draws, self.policy_lr = whole("draws", draws, low=2), lr
        self.schedule = schedule(temperature, "temperature")
        at_least("temperature", at(self.schedule, 0), 1e-3)

    def forward(self, model: Autoencoder, batch: Batch, step: int = 0) -> Loss:
        """The decoder's loss: the negative evidence lower bound, where only the distortion has a gradient."""
        batch = batch.visible()
        with torch.no_grad():
            features = model.encoder(batch.x, batch.condition)
            code = model.bottleneck(features)
        return self.of(model, Pass(batch, code, model.decode(code.z, batch.condition), features), step)

    def balance(self, model: Autoencoder, batch: Batch, step: int = 0) -> Tensor:
        """The squared residual of each draw, (K, B)."""
        q = self._posterior(model, batch)
        with torch.no_grad():
            z = q.sample((self.draws,))
            parameters = model.decode(z, batch.condition)
            nll = model.likelihood.nll(parameters, batch.target, batch.weight)
            joint = (self._prior(model).log_prob(z) - nll) / at(self.schedule, step)
        residual = q.log_prob(z) - joint
        return (residual - residual.mean(0)).square()

    def dreamt(self, model: Autoencoder, n: int) -> Tensor:
        """-log q(z'|x') of n draws of the model, (n,)."""
        with torch.no_grad():
            z = self._prior(model).sample((n,))
            x = model.likelihood.sample(model.decode(z))
        found: Tensor = -self._posterior(model, Batch(x)).log_prob(z)
        return found

    def policy(self, model: Autoencoder, batch: Batch, step: int = 0) -> Loss:
        """The policy's loss."""
        batch = batch.visible()
        terms: Mapping[str, Tensor] = {"balance": self.balance(model, batch, step).mean()}
        if self.weight("sleep", step):
            terms = {**terms, "sleep": self.dreamt(model, len(batch)).mean()}
        return Loss(self.weigh(terms, step), {name: term.detach() for name, term in terms.items()})

    def players(self, model: Autoencoder) -> list[Player]:
        """The decoder, named ``autoencoder`` as every first player, then encoder and policy."""

        def decoder(batch: Batch, step: int, passed: Pass | None = None) -> Loss:
            return self(model, batch, step)

        def policy(batch: Batch, step: int, passed: Pass | None = None) -> Loss:
            return self.policy(model, batch, step)

        mine = [*model.decoder.parameters(), *model.likelihood.parameters()]
        theirs = [*model.encoder.parameters(), *model.bottleneck.parameters()]
        return [
            Player("autoencoder", mine, decoder, self.lr),
            Player("policy", theirs, policy, self.policy_lr),
        ]

    def settled(self, step: int) -> bool:
        """Whether the temperature and all weights have reached their final value."""
        return super().settled(step) and constant_from(self.schedule, step)

    @staticmethod
    def _posterior(model: Autoencoder, batch: Batch) -> Distribution:
        bottleneck = model.bottleneck
        assert isinstance(bottleneck, Variational)
        return bottleneck.posterior(model.encoder(batch.x, batch.condition))

    @staticmethod
    def _prior(model: Autoencoder) -> Distribution:
        bottleneck = model.bottleneck
        assert isinstance(bottleneck, Variational)
        return bottleneck.prior()
