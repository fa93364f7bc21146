"""`Objective`: distortion plus weighted costs, and who is optimised on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from narrows.core.code import Loss, Pass
from narrows.core.parts import Autoencoder, Part
from narrows.core.schedules import Schedule, at, constant_from, schedule
from narrows.core.stages import Player
from narrows.core.values import Batch

if TYPE_CHECKING:
    pass

__all__ = ["Objective"]


class Objective(Part):
    """Distortion plus weighted costs, a value a sample and example, reduced to one number.

    ``total = reduce(sum_t weight_t(step) * term_t)``, the terms being ``distortion`` (nats), the code's costs and
    whatever a subclass adds in `extra`. A weight for ``kl`` holds for ``kl/0``, ``kl/1`` ... too; the default is 1.

    Args:
        samples: how many codes are drawn a batch, for example ``(K,)``; ``()`` draws one and uses closed forms.
        reduce: from ``(*samples, B)`` to a scalar; the mean when None.
        lr: this player's own learning rate or schedule, or None for the trainer's.
        weights: schedules by term.
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

    def players(self, model: Autoencoder) -> list[Player]:
        """The autoencoder, trained on this objective; a subclass adds its rivals."""
        rivals = {id(p) for owner in (self, model.prior) if owner is not None for p in owner.parameters()}
        mine = [p for p in model.parameters() if id(p) not in rivals and p.requires_grad]

        def loss(batch: Batch, step: int, passed: Pass | None = None) -> Loss:
            return self(model, batch, step)

        return [Player("autoencoder", mine, loss, self.lr)]

    def weight(self, term: str, step: int) -> float:
        """The weight of a term at a step."""
        return at(self.weights.get(term, self.weights.get(term.split("/")[0], 1.0)), step)

    def settled(self, step: int) -> bool:
        """Whether all weights have come to their last value."""
        return all(constant_from(value, step) for value in self.weights.values())

    def revives_after(self) -> int | None:
        """How many examples a latent may be off for before it is brought back; None where nothing does that."""
        return None

    def distortion(self, model: Autoencoder, passed: Pass) -> Tensor:
        """-log p(target | z), (*samples, B), counted where the code or the batch says so."""
        return model.likelihood.nll(passed.output, passed.batch.target, passed.weight)

    def extra(self, model: Autoencoder, passed: Pass) -> Mapping[str, Tensor]:
        """Further terms, each (*samples, B) or a scalar."""
        return {}

    def terms(self, model: Autoencoder, passed: Pass) -> dict[str, Tensor]:
        """Every term by name, before its weight: the distortion, the code's costs and the extra ones."""
        return {
            "distortion": self.distortion(model, passed),
            **passed.code.costs,
            **self.extra(model, passed),
        }

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
