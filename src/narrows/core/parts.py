"""The parts that every autoencoder is made of, and nothing else.

An autoencoder is an encoder, a bottleneck, a decoder with a likelihood, and an objective::

    Batch --encoder(x, given)--> features --bottleneck--> Code --decoder(z, given)--> parameters of p(x | z)
                                                            |                               |
                                                            +------- Objective -------------+--> Loss

Shapes use one glossary: B batch, K samples, D data, Z latent, N dictionary or codebook. Leading sample axes come
before the batch: ``(*samples, B, ...)``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from narrows.core.check import RequestError
from narrows.core.schedules import Schedule, at, constant_from, schedule
from narrows.core.values import (
    Batch,
    Code,
    Sparse,
    Spec,
    Tree,
    all_sum,
    as_spec,
    counted,
    dense,
    seeded,
    tree_map,
)

if TYPE_CHECKING:
    from narrows.kernels.metrics import Tally

__all__ = [
    "Autoencoder",
    "Batch",
    "Bottleneck",
    "Code",
    "Likelihood",
    "Loss",
    "Objective",
    "Part",
    "Player",
    "Prior",
    "Sparse",
    "Spec",
    "Stage",
    "Tree",
    "all_sum",
    "as_spec",
    "counted",
    "dense",
    "seeded",
    "tree_map",
]


@dataclass(frozen=True)
class Loss:
    """A loss to minimise, the detached mean of each of its terms, and the code it was computed from."""

    total: Tensor
    terms: Mapping[str, Tensor]
    code: Code | None = None


@dataclass(frozen=True)
class Player:
    """Who is optimised on which loss. An adversary is a second player with its own parameters."""

    name: str
    parameters: list[nn.Parameter]
    loss: Callable[[Batch, int], Loss]
    lr: Schedule | None = None


@dataclass(frozen=True)
class Stage:
    """One thing to train: a part with players, and how it sees a batch of data (a prior sees codes)."""

    name: str
    part: Autoencoder | Prior
    view: Callable[[Batch], Batch] | None = None


class Part(nn.Module):
    """A module with the trainer's hooks. Buffers move here and nowhere else."""

    smooth: ClassVar[bool] = True
    """False where a gradient is an estimate on purpose (straight-through, stopped): no finite difference has it."""

    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """Before the first step, once, with a large batch: initialisation from the data."""

    def before_step(self, step: int) -> None:
        """Before the losses of a step: what depends on the step alone."""

    def before_update(self) -> None:
        """Between a player's backward pass and its optimizer: surgery on gradients."""

    def after_step(self, code: Code) -> None:
        """After all players moved, without gradients: EMA codebooks, idle counts, thresholds, unit norms."""

    def renew(self, model: Autoencoder, batch: Batch, code: Code) -> list[tuple[nn.Parameter, Tensor]]:
        """After `after_step`: give rows of parameters new values, and name them: their momentum is forgotten."""
        return []

    def settled(self, step: int) -> bool:
        """Whether held-out losses from this step on mean the same: no schedule or steered weight still moves them.

        Early stopping compares only such losses; where they never settle, training uses its whole budget.
        """
        return True

    def finish(self, model: Autoencoder) -> None:
        """After the last step, on the model that is saved for use: fold scales into weights; it computes the same."""

    def facts(self, model: Autoencoder, batch: Batch, code: Code) -> Mapping[str, Tensor | Tally]:
        """What is no loss and worth following on held-out batches: scalars to be averaged, or tallies to be added."""
        return {}


class Bottleneck(Part):
    """The narrow part: features in, `Code` out. It owns its prior, and may own a loop (ladder, recurrent).

    In `eval()` and with no samples asked for, it is deterministic: a posterior gives its mean.
    """

    def forward(self, h: Tree, samples: tuple[int, ...] = ()) -> Code:
        """Pass features (B, ...) through; draws of shape ``(*samples, B, ...)`` where samples are asked for."""
        raise NotImplementedError(f"{type(self).__name__} must define forward")

    def sample(self, n: int) -> Code:
        """Draw n codes from the prior.

        Raises:
            RequestError: this bottleneck has no prior.
        """
        raise RequestError(
            f"{type(self).__name__} has no prior, so there is nothing to sample from. "
            "Fit a method with a prior (such as `vae`), or a second stage over the codes."
        )

    def draw(self, n: int, given: Tree = None) -> Code:
        """Draw n codes from the prior given (n, ...) labels where it is told them; else as `sample`."""
        return self.sample(n)

    def symbols(self, code: Code) -> Tensor:
        """What is stored, and what a second-stage prior models: indices (B, L) or the code itself, (B, ...)."""
        return dense(code.z)

    def read(self, symbols: Tensor) -> Code:
        """The code that the symbols stand for: the inverse of `symbols`."""
        return Code(symbols)

    def features(self, code: Code) -> Tensor:
        """What a downstream probe reads, (B, F): the posterior mean where there is one, else z."""
        z = code.q.mean if code.q is not None else dense(code.z)
        return z.flatten(1)


class Likelihood(Part):
    """p(x | z), read from what the decoder puts out.

    Args:
        shape: shape of one target. All sums run over its axes, the trailing ones.
    """

    channels = 1
    """How many parameters the decoder must put out for each element (along the first axis of `shape`)."""

    nll_unit: ClassVar[str] = "nats"
    """What `nll` counts; ``squared error`` where it leaves the constants of a density out."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = tuple(shape)

    @property
    def parameter_shape(self) -> tuple[int, ...]:
        """The shape of the decoder's output for one example."""
        return (self.shape[0] * self.channels, *self.shape[1:])

    def nll(self, parameters: Tensor, x: Tensor, weight: Tensor | None = None) -> Tensor:
        """-log p(x | parameters) summed over an example, (*samples, B); elements count by `weight`."""
        raise NotImplementedError(f"{type(self).__name__} must define nll")

    def mean(self, parameters: Tensor) -> Tensor:
        """E[x | parameters], (*samples, B, *shape)."""
        raise NotImplementedError(f"{type(self).__name__} must define mean")

    def sample(self, parameters: Tensor) -> Tensor:
        """A draw of x, (*samples, B, *shape)."""
        raise NotImplementedError(f"{type(self).__name__} must define sample")

    def sum(self, terms: Tensor, weight: Tensor | None = None) -> Tensor:
        """Sum element-wise terms over one example: (*samples, B, *shape) -> (*samples, B)."""
        terms = terms if weight is None else terms * weight
        return terms.flatten(-len(self.shape)).sum(-1)


class Prior(Part):
    """p(symbols | given), trained on a finished autoencoder's codes; a subclass defines `nll` and `sample`."""

    def nll(self, symbols: Tensor, given: Tree = None) -> Tensor:
        """-log p of each row of symbols (or a bound of it), in nats, (B,)."""
        raise NotImplementedError(f"{type(self).__name__} must define nll")

    def sample(self, n: int, given: Tree = None) -> Tensor:
        """n draws, as `Bottleneck.read` takes them."""
        raise NotImplementedError(f"{type(self).__name__} must define sample")

    def loss(self, batch: Batch, step: int = 0) -> Loss:
        """The mean nll of a batch of symbols; evaluating it changes nothing."""
        nll = self.nll(batch.x, batch.given).mean()
        return Loss(nll, {"nll": nll.detach()})

    def players(self) -> list[Player]:
        """One player, the prior itself."""
        return [Player("prior", [p for p in self.parameters() if p.requires_grad], self.loss)]


class Autoencoder(Part):
    """Encoder, bottleneck, decoder, likelihood and objective, joined.

    Args:
        encoder: ``(x, given) -> features``; corruption and masking live here.
        bottleneck: features -> `Code`.
        decoder: ``(z, given) -> parameters`` of the likelihood.
        likelihood: p(x | z).
        objective: what is minimised, and by whom.
        prior: a second stage over the code's symbols, or None.
        given: which of the data's columns both sides are told: ``"labels"`` (one-hot), the name of a column such as
            ``"gradients"``, or None.
    """

    def __init__(
        self,
        encoder: nn.Module,
        bottleneck: Bottleneck,
        decoder: nn.Module,
        likelihood: Likelihood,
        objective: Objective,
        *,
        prior: Prior | None = None,
        given: str | None = None,
    ) -> None:
        super().__init__()
        self.encoder, self.bottleneck, self.decoder = encoder, bottleneck, decoder
        self.likelihood, self.objective, self.prior, self.given = likelihood, objective, prior, given

    def encode(self, batch: Batch, samples: tuple[int, ...] = ()) -> Code:
        """The code of a batch; ``z`` is ``(*samples, B, ...)``."""
        return self.bottleneck(self.encoder(batch.x, batch.given), samples)

    def decode(self, z: Tree, given: Tree = None) -> Tensor:
        """The likelihood's parameters for z."""
        return self.decoder(z, given)

    def reconstruct(self, batch: Batch) -> Tensor:
        """E[x | z] at the code of the batch."""
        return self.likelihood.mean(self.decode(self.encode(batch).z, batch.given))

    def features(self, batch: Batch) -> Tensor:
        """What a downstream probe reads of a batch, (B, F)."""
        return self.bottleneck.features(self.encode(batch))

    def sample(self, n: int, given: Tree = None, draw: bool = False) -> Tensor:
        """n new examples, (n, *shape): the likelihood's mean, or a draw from it.

        Raises:
            RequestError: there is neither a prior in the bottleneck nor a second stage.
        """
        if self.prior is None:
            code = self.bottleneck.draw(n, given)
        else:
            code = self.bottleneck.read(self.prior.sample(n, given))
        parameters = self.decode(code.z, given)
        return self.likelihood.sample(parameters) if draw else self.likelihood.mean(parameters)

    def loss(self, batch: Batch, step: int = 0) -> Loss:
        """The first player's loss; evaluating it changes nothing."""
        return self.objective(self, batch, step)

    def players(self) -> list[Player]:
        """Who is optimised on what, in turn order."""
        return self.objective.players(self)

    def stages(self) -> list[Stage]:
        """What is trained, one after the other: the autoencoder, then a prior over its symbols."""
        first = [Stage("autoencoder", self)]
        return first if self.prior is None else [*first, Stage("prior", self.prior, self.as_symbols)]

    @torch.no_grad()
    def as_symbols(self, batch: Batch) -> Batch:
        """The batch of this batch's symbols: what a second stage is trained on."""
        training = self.training
        self.eval()
        try:
            return Batch(self.bottleneck.symbols(self.encode(batch)), given=batch.given)
        finally:
            self.train(training)


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
        return [Player("autoencoder", mine, lambda batch, step: self(model, batch, step), self.lr)]

    def weight(self, term: str, step: int) -> float:
        """The weight of a term at a step."""
        return at(self.weights.get(term, self.weights.get(term.split("/")[0], 1.0)), step)

    def settled(self, step: int) -> bool:
        """Whether all weights have come to their last value."""
        return all(constant_from(value, step) for value in self.weights.values())

    def followed(self, found: Mapping[str, float], step: int) -> float:
        """What early stopping follows, of the means of the loss and its terms on held-out rows: the loss."""
        return found["loss"]

    def distortion(self, model: Autoencoder, batch: Batch, code: Code) -> Tensor:
        """-log p(target | z), (*samples, B), counted where the code or the batch says so."""
        return model.likelihood.nll(model.decode(code.z, batch.given), batch.goal, counted(code, batch))

    def extra(self, model: Autoencoder, batch: Batch, code: Code) -> Mapping[str, Tensor]:
        """Further terms, each (*samples, B) or a scalar."""
        return {}

    def terms(self, model: Autoencoder, batch: Batch, code: Code) -> dict[str, Tensor]:
        """Every term by name, before its weight: the distortion, the code's costs and the extra ones."""
        distortion = self.distortion(model, batch, code)
        return {"distortion": distortion, **code.costs, **self.extra(model, batch, code)}

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
        code = model.encode(batch, self.samples)
        terms = self.terms(model, batch, code)
        total = self.reduce(self.weigh(terms, step))
        return Loss(total, {name: t.detach().mean() for name, t in terms.items()}, code)
