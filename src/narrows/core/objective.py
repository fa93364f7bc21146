"""`Objective`: distortion plus weighted costs, and the players that are optimised on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from narrows.core.autoencoder import Autoencoder
from narrows.core.code import Loss, Pass
from narrows.core.parts import Part
from narrows.core.schedules import Schedule, at, constant_from, schedule
from narrows.core.stages import Player
from narrows.core.values import Batch

__all__ = ["Objective", "Penalty"]


class Penalty(Part):
    """Terms that can be added to any objective, by `Objective.add`.

    Args:
        weights: weights or schedules, of its own terms or of others.
    """

    def __init__(self, weights: Mapping[str, Schedule]) -> None:
        super().__init__()
        self.weights = {name: schedule(value, name) for name, value in weights.items()}

    def forward(self, model: Autoencoder, passed: Pass) -> Mapping[str, Tensor]:
        """The terms, each (*samples, B) or a scalar."""
        raise NotImplementedError(f"{type(self).__name__} must define forward")

    def check(self, model: Autoencoder) -> None:
        """Raise if the model has no such terms."""

    def reduced(self, reduce: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        """The map from losses (*samples, B) to a scalar, given that of the objective."""
        return reduce


class Objective(Part):
    r"""Distortion plus weighted costs, computed per sample and example and reduced to one number.

    .. math:: L = \text{reduce} \Big( \sum_t w_t(\text{step})\, \ell_t \Big)

    The terms are ``distortion`` (nats), the code's costs and the terms that a subclass adds in `extra`. A
    weight for ``kl`` also applies to ``kl/0``, ``kl/1`` ...; the default weight is 1.

    Args:
        samples: shape of the codes drawn per example, for example ``(K,)``; ``()`` draws one and uses closed
            forms.
        reduce: maps ``(*samples, B)`` to a scalar; the mean when None.
        lr: this player's learning rate or schedule, or None for the plan's.
        weights: weights or schedules by the name of the term.
    """

    def __init__(
        self,
        *,
        samples: tuple[int, ...] = (),
        reduce: Callable[[Tensor], Tensor] | None = None,
        lr: Schedule | None = None,
        weights: Mapping[str, Schedule] | None = None,
    ) -> None:
        super().__init__()
        self.samples, self.lr = tuple(samples), lr
        self.reduce = torch.mean if reduce is None else reduce
        self.weights = {name: schedule(value, name) for name, value in (weights or {}).items()}
        self.penalties = nn.ModuleList()

    def add(self, penalty: Penalty) -> None:
        """Add a penalty's terms, and set its weights."""
        self.reduce = penalty.reduced(self.reduce)
        self.penalties.append(penalty)
        self.weights |= penalty.weights
        self.least_batch = max(self.least_batch, penalty.least_batch)

    def players(self, model: Autoencoder) -> list[Player]:
        """The autoencoder, trained on this objective; a subclass adds its adversaries."""
        adversaries = {
            id(p) for owner in (self, model.prior) if owner is not None for p in owner.parameters()
        }
        mine = [p for p in model.parameters() if id(p) not in adversaries and p.requires_grad]

        def loss(batch: Batch, step: int, passed: Pass | None = None) -> Loss:
            return self(model, batch, step)

        return [Player("autoencoder", mine, loss, self.lr)]

    def weight(self, term: str, step: int) -> float:
        """The weight of a term at a step."""
        return at(self.weights.get(term, self.weights.get(term.split("/")[0], 1.0)), step)

    def settled(self, step: int) -> bool:
        """Whether all weights have reached their final value."""
        return all(constant_from(value, step) for value in self.weights.values())

    def revives_after(self) -> int | None:
        """The number of inactive examples after which a latent is revived; None without revival."""
        return None

    def distortion(self, model: Autoencoder, passed: Pass) -> Tensor:
        """-log p(target | z), (*samples, B), weighted by the weight of the pass."""
        return model.likelihood.pass_nll(passed)

    def extra(self, model: Autoencoder, passed: Pass) -> Mapping[str, Tensor]:
        """Further terms, each (*samples, B) or a scalar."""
        return {}

    def terms(self, model: Autoencoder, passed: Pass) -> dict[str, Tensor]:
        """All unweighted terms by name: the distortion, the code's costs, the extra terms and those of penalties."""
        found = {
            "distortion": self.distortion(model, passed),
            **passed.code.costs,
            **self.extra(model, passed),
        }
        for penalty in self.penalties:
            found |= penalty(model, passed)
        return found

    def weigh(self, terms: Mapping[str, Tensor], step: int) -> Tensor:
        """The weighted sum of the terms, (*samples, B)."""
        weighted = None
        for name, term in terms.items():
            weight = self.weight(name, step)
            if weight != 0:
                part = term if weight == 1 else weight * term
                weighted = part if weighted is None else weighted + part
        assert weighted is not None  # the distortion is always there
        return weighted

    def forward(self, model: Autoencoder, batch: Batch, step: int = 0) -> Loss:
        """The loss of a batch. Pure: evaluating it changes no parameter and no buffer."""
        return self.of(model, model(batch, self.samples), step)

    def of(self, model: Autoencoder, passed: Pass, step: int) -> Loss:
        """The loss of a pass."""
        terms = self.terms(model, passed)
        total = self.reduce(self.weigh(terms, step))
        return Loss(total, {name: t.detach().mean() for name, t in terms.items()}, passed)
