"""The parts that every autoencoder is made of.

An autoencoder is an encoder, a bottleneck, a decoder with a likelihood, and an objective::

    Batch --encoder(x, condition)--> features --bottleneck--> Code --decoder(z, condition)--> parameters
                                                                |                                 |
                                                                +---------- Objective ------------+--> Loss

The parameters are those of p(x | z). Shapes: B batch, K samples, D data, Z latent, N dictionary or codebook. Sample
axes come before the batch axis: ``(*samples, B, ...)``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Protocol, Self

import torch
from torch import Tensor, nn

from narrows.core.check import RequestError, refuse
from narrows.core.code import Code, Completion, Pass
from narrows.core.surface import Surface
from narrows.core.symbols import Symbols, TokenLayout
from narrows.core.values import NO_CONDITION, Batch, Condition, Tree, dense

if TYPE_CHECKING:
    from narrows.core.autoencoder import Autoencoder

__all__ = ["Accumulator", "Bottleneck", "Likelihood", "Part"]


class Accumulator(Protocol):
    """Sums over batches from which metrics are computed."""

    def __add__(self, other: Self) -> Self:
        """The accumulator of both sets of batches."""
        ...

    def read(self) -> Mapping[str, float | list[float]]:
        """The metrics by name."""
        ...


class Part(nn.Module):
    """A module with the trainer's hooks. Buffers change only in these hooks."""

    smooth: ClassVar[bool] = True
    """False if a gradient is a deliberate estimate (straight-through, detached) that finite differences do
    not match."""

    splits: ClassVar[tuple[str, ...]] = ()
    """Names of the parameters with one row per latent, which can be sharded over processes. Not inherited."""

    least_batch: int = 1
    """The smallest batch it can be trained on, such as one of as many examples as latents for their covariance."""

    def check_rows(self, rows: int) -> None:
        """Raise, before anything is written, if it cannot be trained on this number of training examples."""

    def suited(self, rows: int) -> Mapping[str, int]:
        """Smaller sizes, by the builder's argument, for so few training examples; empty if there are enough."""
        return {}

    def set_rows(self, rows: int) -> None:
        """Called before `prepare` with the number of training examples."""

    def held_back(self, rows: int) -> int:
        """The number of the training examples that no step shall see, and that `keep` is given."""
        return 0

    def keep(self, batch: Batch) -> None:
        """Called with those examples when training begins, also when it is resumed; before `prepare`."""

    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """Called once before the first step of the stage with a large batch: initialisation from the data."""

    def before_step(self, step: int) -> None:
        """Called before the losses of a step: updates that depend only on the step."""

    def before_update(self) -> None:
        """Called between a player's backward pass and its optimizer step: changes to gradients."""

    def after_step(self, passed: Pass) -> None:
        """Called after all optimizer steps, without gradients: EMA codebooks, thresholds, unit norms."""

    def reinitialise_rows(self, model: Autoencoder, passed: Pass) -> list[tuple[nn.Parameter, Tensor]]:
        """Called after `after_step`: assign new values to rows; the optimizer state of the returned rows is reset."""
        return []

    def settled(self, step: int) -> bool:
        """Whether held-out losses are comparable from this step on: schedules have ended.

        Early stopping compares only such losses; without any, training uses its whole budget.
        """
        return True

    def monitored(self, found: Mapping[str, float], step: int) -> float:
        """The value that early stopping monitors, from the held-out means of the loss and its terms."""
        return found["loss"]

    def finish(self, model: Autoencoder) -> None:
        """Called after the last step on the saved model: fold scales into weights, with the same output."""

    def metrics(self, model: Autoencoder, passed: Pass) -> Mapping[str, Tensor | Accumulator]:
        """Further metrics of a held-out batch: scalars that are averaged, or accumulators."""
        return {}


class Bottleneck(Part):
    """Maps features to a `Code`. It contains its prior, and may contain a loop (ladder, recurrent).

    In `eval()` without samples it is deterministic: a posterior returns its mean.
    """

    layout: TokenLayout | None = None
    """The positions of the tokens of its symbols; None for a sequence."""

    def forward(self, h: Tree, samples: tuple[int, ...] = ()) -> Code:
        """The code of features (B, ...); with `samples`, draws of shape ``(*samples, B, ...)``."""
        raise NotImplementedError(f"{type(self).__name__} must define forward")

    def sample(self, n: int, condition: Condition = NO_CONDITION) -> Code:
        """Draw n codes from the prior, given n rows of each condition. A subclass may have options, all by keyword.

        Raises:
            RequestError: this bottleneck has no prior.
        """
        raise RequestError(
            f"{type(self).__name__} has no prior, so there is nothing to sample from. "
            "Fit a method with a prior (such as `vae`), or a second stage over the codes."
        )

    @property
    def symbols(self) -> Symbols | None:
        """What `to_symbols` returns of every example, if that is known without one."""
        return None

    def code_vectors(self) -> Tensor | None:
        """The vectors of all codes, (K, d), of stacks those of each depth, (D, K, d); None if codes have none."""
        return None

    def lengths(self, code: Code) -> Tensor | None:
        """The number of codes of each example, (B,), if examples have unequal numbers; otherwise None."""
        return None

    def to_symbols(self, code: Code) -> Tensor:
        """The symbols that a second-stage prior models: indices (B, L), or the code (B, ...)."""
        return dense(code.z)

    def from_symbols(self, symbols: Tensor) -> Code:
        """The code of symbols: the inverse of `to_symbols`."""
        return Code(symbols)

    def sample_symbols(self, code: Code, temperature: float) -> tuple[Tensor, Tensor]:
        """Sample symbols around a code: the symbols, and the probabilities (..., K) they were drawn with.

        Raises:
            RequestError: this bottleneck does not sample its symbols.
        """
        what = type(self).__name__
        raise refuse("label_temperature", temperature, f"0: `{what}` does not sample its codes")

    def surface(self, z: Tensor) -> Surface | None:
        """Codes (B, Z) as points of the plane, if they lie on a curve or a surface; otherwise None."""
        return None

    def between(self, start: Tensor, end: Tensor, t: Tensor) -> Tensor:
        """Codes on the way from one code to another, (S, ...): the straight line, or on a manifold the geodesic.

        Args:
            start: (1, ...), at t = 0.
            end: (1, ...), at t = 1.
            t: (S, 1, ...).
        """
        return (1 - t) * start + t * end

    def paths(self, z: Tensor, low: Tensor, high: Tensor, steps: int) -> Mapping[str, Tensor]:
        """The paths of traversals through a code (Z,) of a manifold by name, (steps, Z) each.

        Empty where every vector is a code: then traversals change one latent at a time.

        Args:
            z: the code.
            low: the smallest value of each latent, (Z,).
            high: the largest value of each latent, (Z,).
            steps: the number of points, S.
        """
        return {}

    def features(self, code: Code) -> Tensor:
        """Features for downstream probes, (B, F): the posterior mean if it is known, else z."""
        mean = code.mean
        return (dense(code.z) if mean is None else mean).flatten(1)


class Likelihood(Part):
    """p(x | z), parametrised by the decoder's output.

    Args:
        shape: shape of one target. All sums run over these trailing axes.
    """

    channels = 1
    """The number of parameters per element that the decoder must output (along the first axis of `shape`)."""

    unit: str = "nats"
    """The unit of `nll`; ``squared error`` if it omits the constants of a density."""

    element: ClassVar[str] = "dimension"
    """What `elements` counts: the dimensions of an example, or the edges of a graph."""

    any_length: ClassVar[bool] = False
    """Whether examples may have any number of steps, (T, ...), whatever `shape` says, and lack some of them."""

    autoregressive: ClassVar[bool] = False
    """Whether `nll` reads the true elements before each one, and `mean` and `sample` those that they wrote."""

    discrete: bool = False
    """True if targets are categorical, so that a squared error is not defined."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = tuple(shape)

    @property
    def parameter_shape(self) -> tuple[int, ...]:
        """The shape of the decoder's output for one example."""
        return (self.shape[0] * self.channels, *self.shape[1:])

    def nll(self, parameters: Tree, x: Tree, weight: Tensor | None = None) -> Tensor:
        """-log p(x | parameters) summed over each example's elements with `weight`, (*samples, B)."""
        return self.sum(self.elements_nll(parameters, x), weight)

    def elements_nll(self, parameters: Tree, x: Tree) -> Tensor:
        """The terms of `nll` by element, (*samples, B, *shape).

        A subclass defines this, or `nll`; then each term is the `nll` of which only the weight of its element is 1.
        """
        own = type(self)
        neither = own.nll is Likelihood.nll and own.elements_nll is Likelihood.elements_nll
        if neither or not isinstance(x, Tensor):
            raise NotImplementedError(f"{type(self).__name__} must define nll or elements_nll")
        ones = torch.eye(math.prod(self.shape), dtype=torch.float32, device=x.device)
        terms = [self.nll(parameters, x, one.view(self.shape).expand(len(x), *self.shape)) for one in ones]
        return torch.stack(terms, -1).unflatten(-1, self.shape)

    def pass_nll(self, passed: Pass) -> Tensor:
        """`nll` of the target of a forward pass, (*samples, B); a subclass may reuse what the pass computed."""
        return self.nll(passed.output, passed.batch.target, passed.weight)

    def teacher_forced(self, passed: Pass) -> Tree:
        """The prediction of each element from the code and, if autoregressive, the true elements before it."""
        return self.mean(passed.output)

    def mean(self, parameters: Tree) -> Tree:
        """E[x | parameters], (*samples, B, *shape)."""
        raise NotImplementedError(f"{type(self).__name__} must define mean")

    def mixture_mean(self, parameters: Tensor, weights: Tensor) -> Tensor:
        """The mean (B, *shape) of a mixture: parameters (K, B, ...), weights (K, B)."""
        mean = self.mean(parameters)
        return (weights.reshape(*weights.shape, *[1] * len(self.shape)) * mean).sum(0)

    def sample(self, parameters: Tree) -> Tree:
        """A draw of x, (*samples, B, *shape). A subclass may have options, all by keyword."""
        raise NotImplementedError(f"{type(self).__name__} must define sample")

    def complete(self, passed: Pass) -> Completion:
        """The missing values of B examples, given the observed ones and each of K codes.

        Elements are independent given the code; a likelihood whose elements are not overrides this.

        Args:
            passed: a forward pass with K codes of each example.
        """
        parameters: Tensor = passed.output

        def draw(codes: Tensor) -> Tensor:
            drawn: Tensor = self.sample(parameters[codes, torch.arange(codes.shape[1], device=codes.device)])
            return drawn

        return Completion(self.pass_nll(passed), partial(self.mixture_mean, parameters), draw)

    def elements(self, x: Tree, weight: Tensor | None = None) -> Tensor:
        """The number of elements of each target with nonzero weight, (B,)."""
        if not isinstance(x, Tensor):
            raise NotImplementedError(f"{type(self).__name__} must define elements")
        if weight is None:
            return x.new_full((len(x),), x[0].numel(), dtype=torch.double)
        wide = weight.reshape(*weight.shape, *[1] * (x.dim() - weight.dim()))
        return (wide != 0).expand_as(x).flatten(1).sum(1).double()

    def sum(self, terms: Tensor, weight: Tensor | None = None) -> Tensor:
        """Sum element-wise terms over one example: (*samples, B, *shape) -> (*samples, B).

        Elements of weight 0 are ignored, even if their term is not finite.
        """
        if weight is not None:
            terms = torch.where(weight != 0, terms * weight, terms.new_zeros(()))
        return terms.flatten(-len(self.shape)).sum(-1)
