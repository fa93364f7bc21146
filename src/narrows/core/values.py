"""Batches, sparse codes and trees of tensors."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor

__all__ = [
    "NO_CONDITION",
    "NO_WIDTHS",
    "Batch",
    "Condition",
    "Sparse",
    "Tree",
    "Views",
    "Widths",
    "all_sum",
    "cat_padded",
    "dense",
    "same_batch",
    "seeded",
    "tree_map",
]

Tree: TypeAlias = Any
"""A tensor, a `Sparse`, or a tuple, list or dict of trees."""


Condition: TypeAlias = Mapping[str, Tensor]
"""Inputs of both encoder and decoder, by name: labels, times, positions, edges, masks."""

NO_CONDITION: Condition = {}

Widths: TypeAlias = Mapping[str, int]
"""The width of each condition of a net, by name."""

NO_WIDTHS: Widths = {}


@dataclass(frozen=True)
class Views:
    """A batch of several modalities, any of which may be missing in any row.

    Args:
        values: the values by modality, (B, ...) each; zeros where missing.
        present: mask of the present modalities, (B, M) bool, in the order of `values`.

    Example:
        >>> views = Views({"a": torch.zeros(2, 3), "b": torch.zeros(2, 1)}, torch.tensor([[True, False]] * 2))
        >>> len(views), views.has("b")
        (2, tensor([False, False]))
        >>> views.only("b").present.any()
        tensor(False)
    """

    values: Mapping[str, Tree]
    present: Tensor

    def __len__(self) -> int:
        return len(self.present)

    @property
    def names(self) -> tuple[str, ...]:
        """The modalities, in order."""
        return tuple(self.values)

    def only(self, *names: str) -> Views:
        """The same examples with all but the named modalities marked missing."""
        kept = torch.tensor([name in names for name in self.values], device=self.present.device)
        return Views(self.values, self.present & kept)

    def has(self, name: str) -> Tensor:
        """Mask of the rows in which a modality is present, (B,) bool."""
        return self.present[:, list(self.values).index(name)]


@dataclass(frozen=True)
class Batch:
    """A batch: input, target, conditions and weights.

    Args:
        x: the input of the encoder, (B, ...).
        target: the target of the decoder; `x` by default.
        condition: inputs of both encoder and decoder, by name. The masks `observed` and `mask` are among
            them: they mark the values of x that are observed, and the elements that are not padding.
        weight: weight of each target element, 0 for padding and missing entries. It has as many axes as the
            target, of size 1 where all elements along an axis have one weight: of series (B, T, C) that only differ
            in length it is (B, T, 1), where values are missing (B, T, C), and of tokens (B, T). The elements of a
            graph are its M pairs of nodes, (B, M). None means 1 everywhere. With several modalities, a mapping by
            name.

    Example:
        >>> batch = Batch(torch.zeros(2, 3))
        >>> batch.target is batch.x, len(batch)
        (True, 2)
    """

    x: Tree
    target: Tree = None
    condition: Condition = field(default_factory=dict)
    weight: Tree = None

    def __post_init__(self) -> None:
        if self.target is None:
            object.__setattr__(self, "target", self.x)

    def __len__(self) -> int:
        first = self.x
        while not isinstance(first, (Tensor, Views)):
            first = next(iter(first.values() if isinstance(first, Mapping) else first))
        return len(first)

    def map(self, f: Callable[[Tensor], Tensor]) -> Batch:
        """The batch with a function applied to each of its tensors."""
        return Batch(
            tree_map(f, self.x),
            None if self.target is self.x else tree_map(f, self.target),
            tree_map(f, self.condition),
            tree_map(f, self.weight),
        )

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        return self.map(lambda t: t.to(device))

    def __getitem__(self, rows: Any) -> Batch:
        """The batch of some of the examples."""
        return self.map(lambda t: t[rows])

    def visible(self) -> Batch:
        """The batch with zeros in place of missing values and padding, so that nothing can depend on them.

        In x these are the values outside ``observed``, ``mask`` or `Views.present`; in the target, those of
        weight 0.

        Example:
            >>> x, observed = torch.tensor([[1.0, torch.nan]]), torch.tensor([[True, False]])
            >>> Batch(x, None, {"observed": observed}, observed.float()).visible().x
            tensor([[1., 0.]])
        """
        masks = [self.condition[name] for name in ("observed", "mask") if name in self.condition]
        views = isinstance(self.x, Views) or isinstance(self.target, Views)
        if not masks and self.weight is None and not views:
            return self
        x = _masked(self.x, masks, self.condition)
        same = self.target is self.x
        target = x if same else _masked(self.target, [], self.condition)
        if self.weight is not None and isinstance(target, Tensor):
            target = _zero(target, self.weight != 0)
        elif same:
            target = None
        return Batch(x, target, self.condition, self.weight)


def _masked(x: Tree, masks: list[Tensor], condition: Condition) -> Tree:
    """The observed values of x; zeros elsewhere."""
    if isinstance(x, Views):
        values = {}
        for name, value in x.values.items():
            values[name] = tree_map(partial(_zero, mask=x.has(name)), value)
            if f"{name}/mask" in condition:
                values[name] = _zero(values[name], condition[f"{name}/mask"])
        return Views(values, x.present)
    if isinstance(x, Tensor):
        for mask in masks:
            x = _zero(x, mask)
    return x


def _zero(x: Tensor, mask: Tensor) -> Tensor:
    """Zeros where a mask over the first axes of x is false."""
    wide = mask.reshape(*mask.shape, *[1] * (x.dim() - mask.dim())) if mask.dim() < x.dim() else mask
    return torch.where(wide.bool(), x, x.new_zeros(()))


@dataclass(frozen=True)
class Sparse:
    """A sparse code with at most k nonzero entries per row, stored as indices and values.

    Args:
        indices: indices of the active latents, (..., k) integers below `width`.
        values: their values, (..., k); entries with value 0 are unused.
        width: the number of latents, N.

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
    """Convert a `Sparse` to a dense tensor; other trees are unchanged."""
    return z.dense() if isinstance(z, Sparse) else z


def tree_map(f: Callable[[Tensor], Tensor], tree: Tree) -> Tree:
    """Apply a function to every tensor of a tree; None stays None."""
    if tree is None:
        return None
    if isinstance(tree, Tensor):
        return f(tree)
    if isinstance(tree, Sparse):
        return replace(tree, indices=f(tree.indices), values=f(tree.values))
    if isinstance(tree, Views):
        return Views(tree_map(f, tree.values), f(tree.present))
    if isinstance(tree, Mapping):
        return {k: tree_map(f, v) for k, v in tree.items()}
    return type(tree)(tree_map(f, v) for v in tree)


def cat_padded(parts: Sequence[Tensor], fill: float = 0) -> Tensor:
    """Concatenate batches whose examples may differ in size, padded at the end of each axis to the largest.

    Example:
        >>> cat_padded([torch.ones(1, 2), torch.ones(1, 3)])
        tensor([[1., 1., 0.],
                [1., 1., 1.]])
    """
    largest = [max(sizes) for sizes in zip(*(part.shape[1:] for part in parts), strict=True)]
    wide = []
    for part in parts:
        missing = [want - have for want, have in zip(largest, part.shape[1:], strict=True)]
        pads = [n for more in reversed(missing) for n in (0, more)]
        wide.append(torch.nn.functional.pad(part, pads, value=fill) if any(pads) else part)
    return torch.cat(wide)


def all_sum(value: Tensor) -> Tensor:
    """The sum of a tensor over all processes; the tensor itself with one process, or inside `same_batch`."""
    if _SAME:
        return value
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        value = value.clone()
        torch.distributed.all_reduce(value)
    return value


_SAME: list[bool] = []
"""Nonempty inside `same_batch`."""


@contextmanager
def same_batch() -> Iterator[None]:
    """Within the context all processes have the same batch, so that `all_sum` does not add their counts."""
    _SAME.append(True)
    try:
        yield
    finally:
        _SAME.pop()


_VECTORISED: ContextVar[bool] = ContextVar("vectorised", default=False)


@contextmanager
def vectorised() -> Iterator[None]:
    """Within the context examples are computed by `torch.func.vmap`: no value is read, no shape depends on one.

    Example:
        >>> with vectorised():
        ...     is_vectorised()
        True
    """
    before = _VECTORISED.set(True)
    try:
        yield
    finally:
        _VECTORISED.reset(before)


def is_vectorised() -> bool:
    """Whether this is inside `vectorised`."""
    return _VECTORISED.get()


_GENERATOR_LOCK = threading.RLock()


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's random generators within the context, and restore their state afterwards.

    All threads of a process share these generators, so a lock admits one thread at a time.

    Example:
        >>> with seeded(0):
        ...     a = torch.rand(1)
        >>> with seeded(0):
        ...     bool(torch.rand(1) == a)
        True
    """
    with _GENERATOR_LOCK, kept_generators():
        _seed_generators(seed)
        yield


def _seed_generators(seed: int) -> None:
    if torch.accelerator.is_available():
        torch.manual_seed(seed)
    else:  # `torch.manual_seed` would note the whole call stack, for devices that may appear later
        torch.default_generator.manual_seed(seed)


@contextmanager
def kept_generators() -> Iterator[None]:
    """Restore the state of torch's random generators after the context, or after a function that this decorates."""
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=list(devices)):
        yield
