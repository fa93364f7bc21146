"""The parts that every autoencoder is made of, and nothing else.

An autoencoder is an encoder, a bottleneck, a decoder with a likelihood, and an objective::

    Batch --encoder(x, given)--> features --bottleneck--> Code --decoder(z, given)--> parameters of p(x | z)
                                                            |                               |
                                                            +------- Objective -------------+--> Loss

Shapes use one glossary: B batch, K samples, D data, Z latent, N dictionary or codebook. Leading sample axes come
before the batch: ``(*samples, B, ...)``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, TypeAlias, TypeVar

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from narrows.check import RequestError, refuse
from narrows.schedules import Schedule, at, schedule

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
    "Sparse",
    "Spec",
    "Stage",
    "Tree",
    "all_sum",
    "as_spec",
    "dense",
    "seeded",
    "tree_map",
]

Tree: TypeAlias = Any
"""A tensor, a `Sparse`, or a tuple, list or dict of trees."""

T = TypeVar("T")


@dataclass(frozen=True)
class Spec:
    """What one example looks like: all that a builder needs to know of the data.

    Args:
        shape: shape of one example: ``(D,)`` a vector, ``(C, H, W)`` an image, ``(T, D)`` a sequence.
        values: ``binary`` (0 or 1), ``unit`` (from 0 to 1) or ``real``.
        classes: how many label classes there are, 0 without labels.
        target: shape of what must be produced, where it is not the input itself.
    """

    shape: tuple[int, ...]
    values: Literal["binary", "unit", "real"] = "real"
    classes: int = 0
    target: tuple[int, ...] | None = None

    @property
    def goal(self) -> tuple[int, ...]:
        """The shape of what the decoder must produce."""
        return self.shape if self.target is None else self.target

    @property
    def size(self) -> int:
        """How many numbers one example has."""
        size = 1
        for n in self.shape:
            size *= n
        return size


def as_spec(spec: Spec | tuple[int, ...] | int) -> Spec:
    """Accept a shape, or a width, where a `Spec` is wanted.

    Example:
        >>> as_spec(8).shape
        (8,)
    """
    if isinstance(spec, Spec):
        return spec
    if isinstance(spec, int):
        return Spec((spec,))
    if isinstance(spec, (tuple, list, torch.Size)) and spec and all(isinstance(n, int) and n > 0 for n in spec):
        return Spec(tuple(spec))
    raise refuse("spec", spec, "a Spec or the shape of one example, such as (1, 28, 28)")


@dataclass(frozen=True)
class Batch:
    """What is seen, what must be produced, what both sides are told, and where it counts.

    Args:
        x: what the encoder sees, (B, ...).
        target: what the decoder must produce; `x` when None.
        given: labels, coordinates, edges: told to both sides.
        weight: where the target counts, broadcastable to it: padding, missing entries.
    """

    x: Tree
    target: Tree = None
    given: Tree = None
    weight: Tensor | None = None

    @property
    def goal(self) -> Tree:
        """What the decoder must produce."""
        return self.x if self.target is None else self.target

    def __len__(self) -> int:
        first = self.x
        while not isinstance(first, Tensor):
            first = next(iter(first.values() if isinstance(first, Mapping) else first))
        return len(first)

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        return Batch(*(tree_map(lambda t: t.to(device), v) for v in self._fields()))

    def __getitem__(self, rows: Any) -> Batch:
        """The batch of some of the examples."""
        return Batch(*(tree_map(lambda t: t[rows], v) for v in self._fields()))

    def _fields(self) -> tuple[Tree, ...]:
        return self.x, self.target, self.given, self.weight


@dataclass(frozen=True)
class Sparse:
    """A code with few non-zero entries a row, kept as what they are: where, and how much.

    Args:
        indices: which latents are on, (..., k) integers below `width`.
        values: their values, (..., k); a zero value is an unused place.
        width: how many latents there are, N.

    Example:
        >>> Sparse(torch.tensor([[2, 0]]), torch.tensor([[5.0, 1.0]]), 4).dense()
        tensor([[1., 0., 5., 0.]])
    """

    indices: Tensor
    values: Tensor
    width: int

    def dense(self) -> Tensor:
        """The same code as a (..., N) tensor."""
        out = self.values.new_zeros(*self.values.shape[:-1], self.width)
        return out.scatter_add(-1, self.indices, self.values)

    def __len__(self) -> int:
        return len(self.values)


def dense(z: Tree) -> Tree:
    """A `Sparse` made dense; anything else as it is."""
    return z.dense() if isinstance(z, Sparse) else z


@dataclass(frozen=True)
class Code:
    """What came through the narrow part.

    Args:
        z: what the decoder reads.
        costs: what passing cost, each ``(*samples, B)``, in nats where that means something. A cost named ``kl``
            or ``kl/...`` is KL(q || p) in closed form, or log q(z|x) - log p(z) at the drawn z where samples were
            asked for, so that the sum of these costs is the log-ratio an importance weight needs.
        q: the posterior, where there is one.
        p: the prior, where there is one.
        weight: where this code must answer for the target, broadcastable to it (MAE: the hidden patches).
        seen: facts for hooks and the audit, detached: ``indices``, ``pre`` (pre-activations) ...
    """

    z: Tree
    costs: Mapping[str, Tensor] = field(default_factory=dict)
    q: Distribution | None = None
    p: Distribution | None = None
    weight: Tensor | None = None
    seen: Mapping[str, Any] = field(default_factory=dict)

    @property
    def rate(self) -> Tensor | None:
        """The sum of the costs that are nats of rate, (*samples, B), or None where there are none."""
        nats = [cost for name, cost in self.costs.items() if name == "kl" or name.startswith("kl/")]
        return torch.stack(nats).sum(0) if nats else None


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
    part: Part
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
        if weight is not None:
            terms = terms * weight
        return terms.flatten(-len(self.shape)).sum(-1)


class Autoencoder(Part):
    """Encoder, bottleneck, decoder, likelihood and objective, joined.

    Args:
        encoder: ``(x, given) -> features``; corruption and masking live here.
        bottleneck: features -> `Code`.
        decoder: ``(z, given) -> parameters`` of the likelihood.
        likelihood: p(x | z).
        objective: what is minimised, and by whom.
        prior: a second stage over the code's symbols, or None.
        given: which of the data's columns both sides are told: ``"labels"`` (one-hot) or None.
    """

    def __init__(
        self,
        encoder: nn.Module,
        bottleneck: Bottleneck,
        decoder: nn.Module,
        likelihood: Likelihood,
        objective: Objective,
        *,
        prior: Part | None = None,
        given: Literal["labels"] | None = None,
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
        value = self.weights.get(term)
        if value is None:
            value = self.weights.get(term.split("/")[0], 1.0)
        return at(value, step)

    def distortion(self, model: Autoencoder, batch: Batch, code: Code) -> Tensor:
        """-log p(target | z), (*samples, B), counted where the code or the batch says so."""
        weight = code.weight if code.weight is not None else batch.weight
        return model.likelihood.nll(model.decode(code.z, batch.given), batch.goal, weight)

    def extra(self, model: Autoencoder, batch: Batch, code: Code) -> Mapping[str, Tensor]:
        """Further terms, each (*samples, B) or a scalar."""
        return {}

    def terms(self, model: Autoencoder, batch: Batch, code: Code) -> dict[str, Tensor]:
        """Every term by name, before its weight: the distortion, the code's costs and the extra ones."""
        return {
            "distortion": self.distortion(model, batch, code),
            **code.costs,
            **self.extra(model, batch, code),
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
        code = model.encode(batch, self.samples)
        terms = self.terms(model, batch, code)
        total = self.reduce(self.weigh(terms, step))
        return Loss(total, {name: t.detach().mean() for name, t in terms.items()}, code)


def tree_map(f: Callable[[Tensor], Tensor], tree: Tree) -> Tree:
    """Apply a function to every tensor of a tree; None stays None."""
    if tree is None:
        return None
    if isinstance(tree, Tensor):
        return f(tree)
    if isinstance(tree, Sparse):
        return replace(tree, indices=f(tree.indices), values=f(tree.values))
    if isinstance(tree, Mapping):
        return {k: tree_map(f, v) for k, v in tree.items()}
    return type(tree)(tree_map(f, v) for v in tree)


def all_sum(value: Tensor) -> Tensor:
    """The sum of a tensor over all processes; the tensor itself where there is one process."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        value = value.clone()
        torch.distributed.all_reduce(value)
    return value


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw from a fixed seed inside, and leave the generators outside as they were.

    Example:
        >>> with seeded(0):
        ...     a = torch.rand(1)
        >>> with seeded(0):
        ...     bool(torch.rand(1) == a)
        True
    """
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=list(devices)):
        torch.manual_seed(seed)
        yield
