"""`Autoencoder`: an encoder, a bottleneck, a decoder, a likelihood and an objective, joined."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from narrows.core.check import RequestError
from narrows.core.code import Code, Loss, Pass
from narrows.core.evidence import Indices
from narrows.core.parts import Bottleneck, Likelihood, Part
from narrows.core.prior import Prior
from narrows.core.stages import Player, Stage
from narrows.core.symbols import Symbols
from narrows.core.tensorfile import hash_of
from narrows.core.values import NO_CONDITION, Batch, Condition, Tree

if TYPE_CHECKING:
    from narrows.core.objective import Objective

__all__ = ["Autoencoder", "evaluation_mode"]


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """`eval()` and no gradients inside the context; the mode of every module is restored afterwards."""
    training = [module for module in model.modules() if module.training]
    if training:
        model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module in training:
            module.training = True


class Autoencoder(Part):
    """An encoder, a bottleneck, a decoder, a likelihood and an objective.

    Args:
        encoder: ``(x, condition) -> features``; includes corruption and masking.
        bottleneck: features -> `Code`.
        decoder: ``(z, condition) -> parameters`` of the likelihood.
        likelihood: p(x | z).
        objective: the loss, and the players that minimise it.
        prior: a second stage over the code's symbols, or None.
        conditions: names of the conditions of encoder and decoder: ``"labels"`` (one-hot), or a column such
            as ``"gradients"``. Masks and positions are always passed with the data.
    """

    default_plan: Mapping[str, Any] = {}
    """Fields of the training plan that apply if the user does not set them, such as a learning rate or a published
    budget: see `narrows.train.Plan.of`."""
    prepared_on: int = Stage.rows
    """Number of training examples that `Part.prepare` gets at most."""

    predicts: ClassVar[bool] = False
    """Whether it models p(y | x) of a target alone (see `Predictor`), so that x has no likelihood."""

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

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the conditions that encoder or decoder reads."""
        return self.conditions

    @property
    def all_conditions(self) -> tuple[str, ...]:
        """Names of the conditions of the autoencoder and of its prior, which training and sampling read."""
        more = () if self.prior is None else self.prior.conditions
        return (*self.conditions, *(name for name in more if name not in self.conditions))

    def set_prior(self, prior: Prior | None) -> None:
        """Set or replace the second-stage prior over the code's symbols."""
        self.prior = prior

    def check_examples(self, examples: Any, where: str = "the training part") -> None:
        """Raise, before anything is written, if it cannot read these examples (`narrows.data.Examples`)."""

    def targeted(self, batch: Batch) -> Batch:
        """The batch with the target of the loss, if that is not the one of the data."""
        return batch

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

    def given(self, batch: Batch, samples: tuple[int, ...] = ()) -> Pass:
        """A pass whose codes are drawn given the observed values, to impute the others; by default `forward`."""
        return self(batch, samples)

    def decode(self, z: Tree, condition: Condition = NO_CONDITION) -> Tensor:
        """The likelihood's parameters for z."""
        return self.decoder(z, condition)

    def reconstruct(self, batch: Batch) -> Tensor:
        """E[x | z] at the code of the batch."""
        return self.likelihood.mean(self(batch).output)

    def features(self, batch: Batch) -> Tensor:
        """Features of a batch for downstream probes, (B, F)."""
        return self.bottleneck.features(self.encode(batch))

    @property
    def drawn_from(self) -> Bottleneck | Prior:
        """What new codes are drawn from: the second-stage prior, or the bottleneck without one."""
        return self.bottleneck if self.prior is None else self.prior

    def sample(
        self, n: int, condition: Condition = NO_CONDITION, draw: bool = False, **options: Any
    ) -> Tensor:
        """n new examples, (n, *shape): the likelihood's mean, or a draw from it.

        Args:
            n: the number of examples.
            condition: n rows of each of the model's conditions, by name.
            draw: draw from the likelihood instead of taking its mean.
            options: keyword arguments of `sample` of the second-stage prior, or of the bottleneck without one; those
                that it does not have go to the likelihood's `sample`, which then draws.

        Raises:
            RequestError: neither the bottleneck nor a second stage has a prior.
        """
        known = inspect.signature(self.drawn_from.sample).parameters
        first = {name: value for name, value in options.items() if name in known}
        drawing = {name: value for name, value in options.items() if name not in known}
        if self.prior is None:
            code = self.bottleneck.sample(n, condition, **first)
        else:
            code = self.bottleneck.from_symbols(self.prior.sample(n, condition, **first))
        parameters = self.decode(code.z, condition)
        if draw or drawing:
            return self.likelihood.sample(parameters, **drawing)
        return self.likelihood.mean(parameters)

    def loss(self, batch: Batch, step: int = 0) -> Loss:
        """The first player's loss; evaluating it changes nothing."""
        return self.objective(self, batch, step)

    def players(self) -> list[Player]:
        """The players, in the order in which they take their steps."""
        return self.objective.players(self)

    def monitored(self, found: Mapping[str, float], step: int) -> float:
        """The value that its objective monitors."""
        return self.objective.monitored(found, step)

    def stages(self) -> list[Stage]:
        """The stages of training in order: the autoencoder, then the prior over its symbols."""
        first = [Stage("autoencoder", self, rows=self.prepared_on)]
        prior = self.prior
        return (
            first
            if prior is None
            else [
                *first,
                Stage("prior", prior, partial(prior.view, self), prior.plan, prior.deterministic, prior.rows),
            ]
        )

    def tokenizer_hash(self) -> str:
        """The SHA-256 of all weights but the prior's: models with the same one have the same codes."""
        return hash_of(value for name, value in self.state_dict().items() if not name.startswith("prior."))

    def encode_fixed(self, batch: Batch) -> Code:
        """The code of a batch in `eval()` mode, whatever the current mode."""
        with evaluation_mode(self):  # while a prior is trained in its stage, the autoencoder stays frozen
            return self.encode(batch)

    def as_symbols(self, batch: Batch) -> Batch:
        """The symbols of a batch, as a batch for the second stage."""
        return Batch(self.bottleneck.to_symbols(self.encode_fixed(batch)), condition=batch.condition)

    def symbols_of(self, batch: Batch) -> Symbols:
        """The kind and shape of the bottleneck's symbols, from a batch of examples.

        Raises:
            RequestError: the symbols are not an array of numbers.
        """
        known = self.bottleneck.symbols
        if known is not None:
            return known
        code = self.encode_fixed(batch)
        found: Any = self.bottleneck.to_symbols(code)
        if not isinstance(found, Tensor):
            raise RequestError("This method's code is not an array of numbers, so no prior can model it.")
        indices = None if found.is_floating_point() else code.find(Indices)
        codes = 0 if indices is None else indices.codes
        return Symbols(tuple(found.shape[1:]), codes, self.bottleneck.layout)
