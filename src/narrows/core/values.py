"""What is passed around: batches, sparse codes and trees of tensors, and what one example looks like."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor
from torch.distributions import Distribution

from narrows.core.check import refuse

__all__ = [
    "Batch",
    "Code",
    "Sparse",
    "Spec",
    "Tree",
    "all_sum",
    "as_spec",
    "counted",
    "dense",
    "same_batch",
    "seeded",
    "tree_map",
]

Tree: TypeAlias = Any
"""A tensor, a `Sparse`, or a tuple, list or dict of trees."""


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
    if (
        isinstance(spec, (tuple, list, torch.Size))
        and spec
        and all(isinstance(n, int) and n > 0 for n in spec)
    ):
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


def counted(code: Code, batch: Batch) -> Tensor | None:
    """Where the target counts: where the batch says so, and where the code must answer for it.

    Example:
        >>> mask = torch.tensor([1.0, 0.0])
        >>> counted(Code(None, weight=mask), Batch(mask, weight=torch.tensor([0.5, 0.5])))
        tensor([0.5000, 0.0000])
    """
    if code.weight is None or batch.weight is None:
        return batch.weight if code.weight is None else code.weight
    return code.weight * batch.weight


def dense(z: Tree) -> Tree:
    """A `Sparse` made dense; anything else as it is."""
    return z.dense() if isinstance(z, Sparse) else z


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
    """The sum of a tensor over all processes; the tensor itself where there is one, or all see the same batch."""
    if _SAME:
        return value
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        value = value.clone()
        torch.distributed.all_reduce(value)
    return value


_SAME: list[bool] = []
"""Not empty while all processes see the same batch."""


@contextmanager
def same_batch() -> Iterator[None]:
    """Inside, the processes share the work on one batch, so that what they count is not summed."""
    _SAME.append(True)
    try:
        yield
    finally:
        _SAME.pop()


_TURNS = threading.RLock()


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw from a fixed seed inside, and leave the generators outside as they were.

    All threads of a process draw from the same generators of torch, so they take turns: who comes second waits.

    Example:
        >>> with seeded(0):
        ...     a = torch.rand(1)
        >>> with seeded(0):
        ...     bool(torch.rand(1) == a)
        True
    """
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []
    with _TURNS, torch.random.fork_rng(devices=list(devices)):
        torch.manual_seed(seed)
        yield
