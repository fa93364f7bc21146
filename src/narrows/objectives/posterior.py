"""The posterior of weights: its energy is the loss, and its draws are the steps of a chain."""

from __future__ import annotations

from dataclasses import replace

import torch

from narrows.core import Autoencoder, Objective, Player
from narrows.core.check import number, refuse
from narrows.objectives.weight_prior import WeightPrior

__all__ = ["Posterior"]

_ADAPTED, _SEEDS = 100, 1 << 31


class Posterior(Objective):
    r"""The negative log posterior of the weights, divided by the number of examples.

    .. math:: U(w) / N = E_x[-\log p(x \mid w)] - \frac{1}{N} \log p(w)

    The autoencoder is no optimum of it, but the state of a chain: stochastic gradient Hamiltonian Monte Carlo on U.

    Args:
        prior: of the weights.
        friction: of the chain, above 0 and at most 1.
        burn_in: steps in which the chain's step sizes are adapted to the gradients of each tensor, at least 100.

    Raises:
        RequestError: an argument out of range.
    """

    def __init__(self, prior: WeightPrior, friction: float = 0.05, burn_in: int = 0) -> None:
        super().__init__()
        if not 0 < number("friction", friction) <= 1:
            raise refuse("friction", friction, "above 0 and at most 1", "Try 0.05.")
        self.friction, self.adapt = friction, max(burn_in, _ADAPTED)
        self.add(prior)
        self.seed = torch.initial_seed() % _SEEDS

    @property
    def weight_prior(self) -> WeightPrior:
        """The prior of the weights."""
        prior = self.penalties[0]
        assert isinstance(prior, WeightPrior)
        return prior

    def settled(self, step: int) -> bool:
        """Never: no state of the chain is the best one."""
        return False

    def players(self, model: Autoencoder) -> list[Player]:
        """The autoencoder, whose optimizer is the chain."""
        rows = int(self.weight_prior.rows)
        chain = f"sghmc:rows={rows},friction={self.friction},adapt={self.adapt},seed={self.seed}"
        return [replace(player, optimizer=chain) for player in super().players(model)]
