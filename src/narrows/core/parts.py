"""The parts that every autoencoder is made of, and nothing else.

An autoencoder is an encoder, a bottleneck, a decoder with a likelihood, and an objective::

    Batch --encoder(x, condition)--> features --bottleneck--> Code --decoder(z, condition)--> parameters of p(x | z)
                                                                |                                    |
                                                                +------------ Objective -------------+--> Loss

Shapes use one glossary: B batch, K samples, D data, Z latent, N dictionary or codebook. Leading sample axes come
before the batch: ``(*samples, B, ...)``.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

import torch
from torch import Tensor, nn

from narrows.core.check import RequestError
from narrows.core.code import Code, Loss, Pass
from narrows.core.evidence import Indices
from narrows.core.stages import Player, Stage
from narrows.core.symbols import Symbols
from narrows.core.values import NO_CONDITION, Batch, Condition, Tree, dense

if TYPE_CHECKING:
    from narrows.core.objective import Objective

__all__ = ["Accumulator", "Autoencoder", "Bottleneck", "Likelihood", "Part", "Prior"]


class Accumulator(Protocol):
    """What is added up over batches before it becomes metrics."""

    def __add__(self, other: Self) -> Self:
        """Both together."""
        ...

    def read(self) -> Mapping[str, float | list[float]]:
        """The metrics by name."""
        ...


class Part(nn.Module):
    """A module with the trainer's hooks. Buffers move here and nowhere else."""

    smooth: ClassVar[bool] = True
    """False where a gradient is an estimate on purpose (straight-through, stopped): no finite difference has it."""

    splits: ClassVar[tuple[str, ...]] = ()
    """Which of its parameters have a row a latent, which processes can share out. A class must say it itself."""

    def set_rows(self, rows: int) -> None:
        """Before `prepare`: how many examples there are to train on."""

    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """Before the first step of the stage, once, with a large batch: initialisation from the data."""

    def before_step(self, step: int) -> None:
        """Before the losses of a step: what depends on the step alone."""

    def before_update(self) -> None:
        """Between a player's backward pass and its optimizer: surgery on gradients."""

    def after_step(self, passed: Pass) -> None:
        """After all players moved, without gradients: EMA codebooks, idle counts, thresholds, unit norms."""

    def reinitialise_rows(self, model: Autoencoder, passed: Pass) -> list[tuple[nn.Parameter, Tensor]]:
        """After `after_step`: give rows of parameters new values, and name them: their momentum is forgotten."""
        return []

    def settled(self, step: int) -> bool:
        """Whether held-out losses from this step on mean the same: no schedule or steered weight still moves them.

        Early stopping compares only such losses; where they never settle, training uses its whole budget.
        """
        return True

    def followed(self, found: Mapping[str, float], step: int) -> float:
        """What early stopping follows, of the means of the loss and its terms on held-out rows: the loss."""
        return found["loss"]

    def finish(self, model: Autoencoder) -> None:
        """After the last step, on the model that is saved for use: fold scales into weights; it computes the same."""

    def metrics(self, model: Autoencoder, passed: Pass) -> Mapping[str, Tensor | Accumulator]:
        """What is no loss and worth following on held-out batches: scalars to be averaged, or accumulators."""
        return {}


class Bottleneck(Part):
    """The narrow part: features in, `Code` out. It owns its prior, and may own a loop (ladder, recurrent).

    In `eval()` and with no samples asked for, it is deterministic: a posterior gives its mean.
    """

    def forward(self, h: Tree, samples: tuple[int, ...] = ()) -> Code:
        """Pass features (B, ...) through; draws of shape ``(*samples, B, ...)`` where samples are asked for."""
        raise NotImplementedError(f"{type(self).__name__} must define forward")

    def sample(self, n: int, condition: Condition = NO_CONDITION) -> Code:
        """Draw n codes from the prior, under n rows of what it is told.

        Raises:
            RequestError: this bottleneck has no prior.
        """
        raise RequestError(
            f"{type(self).__name__} has no prior, so there is nothing to sample from. "
            "Fit a method with a prior (such as `vae`), or a second stage over the codes."
        )

    def to_symbols(self, code: Code) -> Tensor:
        """What is stored, and what a second-stage prior models: indices (B, L) or the code itself, (B, ...)."""
        return dense(code.z)

    def from_symbols(self, symbols: Tensor) -> Code:
        """The code that the symbols stand for: the inverse of `to_symbols`."""
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

    unit: str = "nats"
    """What `nll` counts; ``squared error`` where it leaves the constants of a density out."""

    element: ClassVar[str] = "dimension"
    """What `elements` counts: a number of an example, an edge."""

    discrete: bool = False
    """True where a target is one of finitely many values, so that there is no squared error of it."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = tuple(shape)

    @property
    def parameter_shape(self) -> tuple[int, ...]:
        """The shape of the decoder's output for one example."""
        return (self.shape[0] * self.channels, *self.shape[1:])

    def nll(self, parameters: Tree, x: Tree, weight: Tensor | None = None) -> Tensor:
        """-log p(x | parameters) summed over an example, (*samples, B); elements count by `weight`."""
        raise NotImplementedError(f"{type(self).__name__} must define nll")

    def mean(self, parameters: Tree) -> Tree:
        """E[x | parameters], (*samples, B, *shape)."""
        raise NotImplementedError(f"{type(self).__name__} must define mean")

    def mixture_mean(self, parameters: Tensor, weights: Tensor) -> Tensor:
        """As `mean`, where x comes from a mixture of the likelihoods (K, B, ...) with weights (K, B): (B, *shape)."""
        mean = self.mean(parameters)
        return (weights.reshape(*weights.shape, *[1] * len(self.shape)) * mean).sum(0)

    def sample(self, parameters: Tree) -> Tree:
        """A draw of x, (*samples, B, *shape)."""
        raise NotImplementedError(f"{type(self).__name__} must define sample")

    def elements(self, x: Tree, weight: Tensor | None = None) -> Tensor:
        """How many elements of each target count, (B,)."""
        if not isinstance(x, Tensor):
            raise NotImplementedError(f"{type(self).__name__} must define elements")
        if weight is None:
            return x.new_full((len(x),), x[0].numel(), dtype=torch.double)
        wide = weight.reshape(*weight.shape, *[1] * (x.dim() - weight.dim()))
        return (wide != 0).expand_as(x).flatten(1).sum(1).double()

    def sum(self, terms: Tensor, weight: Tensor | None = None) -> Tensor:
        """Sum element-wise terms over one example: (*samples, B, *shape) -> (*samples, B).

        What has no weight is left out, whatever its term is.
        """
        if weight is not None:
            terms = torch.where(weight != 0, terms * weight, terms.new_zeros(()))
        return terms.flatten(-len(self.shape)).sum(-1)


class Prior(Part):
    """p(symbols | condition), trained on a finished autoencoder's codes; a subclass says its loss and draws."""

    reads: ClassVar[tuple[str, ...]] = ()
    """The kinds of `Symbols` that it models."""

    conditions: tuple[str, ...] = ()
    """What it is told, by name: ``labels``."""

    plan: Mapping[str, Any] = MappingProxyType({})
    """Fields of the training plan that suit it: lr, ema ...; what a user says of that stage comes first."""

    fixed: ClassVar[bool] = True
    """Whether `view` gives an example the same each time, so that it can be kept; False where it draws."""

    def view(self, model: Autoencoder, batch: Batch) -> Batch:
        """What it learns from, of a batch of data: the symbols of the codes."""
        return model.as_symbols(batch)

    def nll(self, symbols: Tensor, condition: Condition = NO_CONDITION) -> Tensor:
        """-log p of each row of symbols (or a bound of it), in nats, (B,)."""
        raise NotImplementedError(f"{type(self).__name__} must define nll")

    @property
    def has_nll(self) -> bool:
        """Whether `nll` is defined."""
        return type(self).nll is not Prior.nll

    def sample(self, n: int, condition: Condition = NO_CONDITION) -> Tensor:
        """n draws, as `Bottleneck.from_symbols` takes them. A subclass may have options, all by keyword."""
        raise NotImplementedError(f"{type(self).__name__} must define sample")

    def loss(self, batch: Batch, step: int = 0, passed: Pass | None = None) -> Loss:
        """The mean nll of a batch of symbols; evaluating it changes nothing."""
        nll = self.nll(batch.x, batch.condition).mean()
        return Loss(nll, {"nll": nll.detach()}, Pass(batch, Code(batch.x)))

    def players(self) -> list[Player]:
        """One player, the prior itself."""
        return [Player("prior", [p for p in self.parameters() if p.requires_grad], self.loss)]


class Autoencoder(Part):
    """Encoder, bottleneck, decoder, likelihood and objective, joined.

    Args:
        encoder: ``(x, condition) -> features``; corruption and masking live here.
        bottleneck: features -> `Code`.
        decoder: ``(z, condition) -> parameters`` of the likelihood.
        likelihood: p(x | z).
        objective: what is minimised, and by whom.
        prior: a second stage over the code's symbols, or None.
        conditions: which of the data both sides are told, by name: ``"labels"`` (one-hot), a column such as
            ``"gradients"``. Masks and positions come with the data, unasked.
    """

    usual: Mapping[str, Any] = {}
    """Fields of the training plan that nobody said, where no rows can be kept apart to tell how long to train."""

    def __init__(
        self,
        encoder: nn.Module,
        bottleneck: Bottleneck,
        decoder: nn.Module,
        likelihood: Likelihood,
        objective: Objective,
        *,
        prior: Prior | None = None,
        conditions: tuple[str, ...] = (),
    ) -> None:
        super().__init__()
        self.encoder, self.bottleneck, self.decoder = encoder, bottleneck, decoder
        self.likelihood, self.objective = likelihood, objective
        self.conditions = tuple(conditions)
        self.prior: Prior | None = None
        self.set_prior(prior)

    def set_prior(self, prior: Prior | None) -> None:
        """Put a second stage over the code's symbols, in the place of what was there."""
        self.prior = prior
        if prior is not None:
            self.conditions = (
                *self.conditions,
                *(name for name in prior.conditions if name not in self.conditions),
            )

    def forward(self, batch: Batch, samples: tuple[int, ...] = ()) -> Pass:
        """Encode and decode a batch, once."""
        batch = batch.visible()
        features = self.encoder(batch.x, batch.condition)
        code = self.bottleneck(features, samples)
        return Pass(batch, code, self.decode(code.z, batch.condition), features)

    def encode(self, batch: Batch, samples: tuple[int, ...] = ()) -> Code:
        """The code of a batch; ``z`` is ``(*samples, B, ...)``."""
        batch = batch.visible()
        return self.bottleneck(self.encoder(batch.x, batch.condition), samples)

    def decode(self, z: Tree, condition: Condition = NO_CONDITION) -> Tensor:
        """The likelihood's parameters for z."""
        return self.decoder(z, condition)

    def reconstruct(self, batch: Batch) -> Tensor:
        """E[x | z] at the code of the batch."""
        return self.likelihood.mean(self(batch).output)

    def features(self, batch: Batch) -> Tensor:
        """What a downstream probe reads of a batch, (B, F)."""
        return self.bottleneck.features(self.encode(batch))

    def sample(
        self, n: int, condition: Condition = NO_CONDITION, draw: bool = False, **options: Any
    ) -> Tensor:
        """n new examples, (n, *shape): the likelihood's mean, or a draw from it.

        Args:
            n: how many.
            condition: n rows of what the model is told, by name.
            draw: draw from the likelihood.
            options: of the second stage's `sample`, where there is one.

        Raises:
            RequestError: there is neither a prior in the bottleneck nor a second stage.
        """
        if self.prior is None:
            code = self.bottleneck.sample(n, condition)
        else:
            code = self.bottleneck.from_symbols(self.prior.sample(n, condition, **options))
        parameters = self.decode(code.z, condition)
        return self.likelihood.sample(parameters) if draw else self.likelihood.mean(parameters)

    def loss(self, batch: Batch, step: int = 0) -> Loss:
        """The first player's loss; evaluating it changes nothing."""
        return self.objective(self, batch, step)

    def players(self) -> list[Player]:
        """Who is optimised on what, in turn order."""
        return self.objective.players(self)

    def followed(self, found: Mapping[str, float], step: int) -> float:
        """What its objective follows."""
        return self.objective.followed(found, step)

    def stages(self) -> list[Stage]:
        """What is trained, one after the other: the autoencoder, then a prior over its symbols."""
        first = [Stage("autoencoder", self)]
        prior = self.prior
        return (
            first
            if prior is None
            else [
                *first,
                Stage("prior", prior, partial(prior.view, self), prior.plan, prior.fixed),
            ]
        )

    @torch.no_grad()
    def encode_fixed(self, batch: Batch) -> Code:
        """The code of a batch as `eval()` gives it, whatever the mode: without noise."""
        # In its own stage a prior is trained beside an autoencoder that is not.
        modes = [(module, module.training) for module in self.modules()]
        self.eval()
        try:
            return self.encode(batch)
        finally:
            for module, mode in modes:
                module.training = mode

    def as_symbols(self, batch: Batch) -> Batch:
        """The batch of this batch's symbols: what a second stage models."""
        return Batch(self.bottleneck.to_symbols(self.encode_fixed(batch)), condition=batch.condition)

    def symbols_of(self, batch: Batch) -> Symbols:
        """What the bottleneck stores of an example, from a batch of examples.

        Raises:
            RequestError: it is no array of numbers.
        """
        code = self.encode_fixed(batch)
        found: Any = self.bottleneck.to_symbols(code)
        if not isinstance(found, Tensor):
            raise RequestError(
                "This method's code is no array of numbers, so that no prior here can model it."
            )
        indices = None if found.is_floating_point() else code.find(Indices)
        return Symbols(tuple(found.shape[1:]), 0 if indices is None else indices.codes)
