"""Entropic transport between data and prior: a dual potential of codes is the second player."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from narrows.core import Autoencoder, Loss, Pass
from narrows.core.check import choice, number, refuse, whole
from narrows.core.schedules import Schedule
from narrows.nets.critic import WholeCritic
from narrows.objectives.adversarial import Adversary

__all__ = ["FORMS", "Coupling", "semi_dual"]

FORMS = ("primal", "semi-dual")


def semi_dual(potential: Tensor, costs: Tensor, epsilon: float) -> Tensor:
    r"""The semi-dual of entropic transport from examples to K equally likely codes.

    .. math:: \frac1K \sum_k \varphi_k - \epsilon\, \frac1B \sum_i \log \frac1K \sum_k
              \exp \frac{\varphi_k - c_{ik}}{\epsilon}

    Its maximum over the potential is the least :math:`\sum_{ik} \pi_{ik} c_{ik} + \epsilon\, \mathrm{KL}(\pi)`, where
    the divergence is from independence and both marginals of pi are uniform.

    Args:
        potential: phi, (K,).
        costs: c, (B, K).
        epsilon: the weight of the divergence.

    Example:
        >>> semi_dual(torch.zeros(2), torch.tensor([[1.0, 1.0], [3.0, 3.0]]), 0.5)
        tensor(2.)
    """
    means = ((potential - costs) / epsilon).logsumexp(-1) - math.log(len(potential))
    return potential.mean() - epsilon * means.mean()


class Coupling(Adversary):
    r"""Entropic transport with the distortion as its cost: the posteriors have the prior as their mixture.

    .. math:: \min_{q, g} \max_\varphi\; E_x E_{q(z|x)}[-\log p(x|z) - \varphi(z)] + E_{p(z)}[\varphi(z)]
              + \epsilon\, E_x \mathrm{KL}(q(z|x)\,\|\,p(z))

    With phi = 0 and epsilon = 1 this is the negative evidence lower bound. The potential phi is the multiplier of the
    constraint E_x q(z|x) = p(z). Its player minimises E_q phi - E_p phi (``primal``), or maximises the semi-dual, in
    which the posterior is the best one for the potential, p(z) exp((phi(z) - D(x, z)) / epsilon), estimated with codes
    drawn from the prior: see `semi_dual`.

    Args:
        latent: width of the code, Z.
        epsilon: weight of the KL divergence.
        form: the loss of the potential, ``primal`` or ``semi-dual``.
        draws: codes drawn from the prior for the semi-dual, K.
        potential: phi, a net from codes (B, Z) to (B, 1); an MLP with two hidden layers if None.
        potential_lr: learning rate of the potential; the trainer's if None.

    Raises:
        RequestError: an unknown `form`, `draws` below 1, or `epsilon` not above 0.

    Reference:
        Hao and Shafto, Coupled Variational Autoencoder, 2023. arXiv:2306.02565
    """

    def __init__(
        self,
        latent: int,
        epsilon: float = 1.0,
        *,
        form: str = "primal",
        draws: int = 64,
        potential: nn.Module | None = None,
        potential_lr: Schedule | None = None,
    ) -> None:
        if not number("epsilon", epsilon) > 0:
            raise refuse("epsilon", epsilon, "a number above 0")
        net = WholeCritic((latent,), (128, 128)) if potential is None else potential
        super().__init__(net, weights={"kl": epsilon}, critic_lr=potential_lr)
        self.epsilon, self.form, self.draws = epsilon, choice("form", form, FORMS), whole("draws", draws)

    def potential(self, z: Tensor) -> Tensor:
        """phi at codes (..., Z), (...)."""
        found: Tensor = self.critic(z).squeeze(-1)
        return found

    def extra(self, model: Autoencoder, passed: Pass) -> Mapping[str, Tensor]:
        """The term ``potential``, E_p phi - phi(z), (*samples, B)."""
        z = passed.code.z
        with torch.no_grad():
            mean = self.potential(model.bottleneck.sample(len(z)).z).mean()
        return {"potential": mean - self.potential(z)}

    def judge(self, model: Autoencoder, passed: Pass, step: int = 0) -> Loss:
        """The potential's loss; codes and costs are detached."""
        if self.form == "primal":
            with torch.no_grad():
                drawn = model.bottleneck.sample(len(passed.code.z)).z
            total = self.potential(passed.code.z.detach()).mean() - self.potential(drawn).mean()
        else:
            drawn, costs = self._costs(model, passed)
            total = -semi_dual(self.potential(drawn), costs, self.epsilon)
        return Loss(total, {"dual": -total.detach()})

    @torch.no_grad()
    def _costs(self, model: Autoencoder, passed: Pass) -> tuple[Tensor, Tensor]:
        """Codes of the prior (K, Z), and -log p(x | z) of each example at each of them, (B, K)."""
        drawn = model.bottleneck.sample(self.draws).z
        output = model.decode(drawn)
        target, weight = passed.batch.target, passed.weight
        each = output.unsqueeze(1).expand(self.draws, len(target), *output.shape[1:])
        return drawn, model.likelihood.nll(each, target, weight).T
