"""`Dataset`: examples in memory or mapped from a file. `Source`: a training and a test part, and their scaling."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from narrows.activations.provenance import Provenance
from narrows.activations.rows import ActivationRows
from narrows.core import Batch, Spec
from narrows.core.check import RequestError, refuse
from narrows.data.domain import Domain
from narrows.data.mapped import on_disk
from narrows.data.scaling import Scaling
from narrows.data.stores import Once, Ragged, Store, move, read_store

__all__ = ["Dataset", "Examples", "Judged", "Known", "Source", "known_of"]


@runtime_checkable
class Examples(Protocol):
    """The interface of data for training and the audit, which user-defined sources can implement.

    It may also implement `Judged`.
    """

    def __len__(self) -> int: ...

    def batch(
        self, rows: Tensor | slice, conditions: tuple[str, ...] = (), device: str | torch.device = "cpu"
    ) -> Batch:
        """Some examples as input to a model, with the named conditions and all masks."""
        ...


@dataclass(frozen=True, eq=False)
class Known:
    """Annotations of examples that are not input to a model, for the audit.

    Args:
        labels: class of each example, (N,) int64, or None.
        factors: known generating factors, (N, F) int64, or None.
        factor_names: the names of the factors.
        columns: stores by name, (N, ...) each.
        truth: for synthetic data, the generating process; the coefficients of the examples are the column
            ``codes``.
        provenance: for activations, the text and token of each row.
    """

    labels: Tensor | None = None
    factors: Tensor | None = None
    factor_names: tuple[str, ...] = ()
    columns: Mapping[str, Store] = field(default_factory=dict)
    truth: Any = None
    provenance: Provenance | None = None


@runtime_checkable
class Judged(Examples, Protocol):
    """Examples with annotations: a source with a property `known`, such as `Dataset`."""

    @property
    def known(self) -> Known:
        """Their annotations."""
        ...


def known_of(examples: Examples | None) -> Known:
    """The annotations of examples; empty if their source has none."""
    return examples.known if isinstance(examples, Judged) else Known()


@dataclass(frozen=True, eq=False)
class Dataset:
    """Examples as they are stored, and their form as input to a model: named stores with roles.

    Args:
        x: the input, (N, *shape): a uint8 or float32 tensor (float64 if the scaling needs it), a memory-mapped
            array, rows of activations, or rows of unequal length (`Ragged`), with a mask in the condition of a
            batch.
        scaling: from stored numbers to the input of a model.
        shape: shape of one example as input to a model, ``(C, H, W)``, ``(T, D)`` or ``(D,)``.
        labels: class of each example, (N,) int64, or None.
        factors: known generating factors, (N, F) int64, or None.
        factor_names: the names of the factors.
        class_names: the names of the classes.
        target: the target, (N, ...), if it is not the input.
        target_scaling: the scaling of the target.
        channels_last: whether the store is (N, H, W, C); a batch is always (B, C, H, W).
        columns: further stores by name, (N, ...) each, that may be conditions of a method: gradients, tokens ...
        provenance: for activations, the text and token of each row
            (`narrows.activations.provenance.Provenance`).
        origin: for counts, the number of each row in the file or array that they are from, for messages.
        truth: for synthetic data, the generating process; the coefficients of the examples are the column
            ``codes``.
        weight: weights of the target, (N, ...); 1 everywhere when None.
        holes: NaN in x is a missing value: a batch has 0 there, ``observed`` in its condition, and weight 0.
        always: columns included in every batch, such as ``times`` and ``positions``.
        domain: for fields, the domain of their positions, and its grid (`narrows.data.domain.Domain`).
        unknown: number of cells by column of a table with a level that the training data do not have; they are missing
            values.

    Example:
        >>> ds = Dataset(torch.arange(6, dtype=torch.uint8).reshape(3, 2), Scaling("unit", 0.0, 5.0), (2,))
        >>> ds.batch(torch.tensor([2])).x
        tensor([[0.8000, 1.0000]])
        >>> holes = Dataset(torch.tensor([[1.0, torch.nan]]), Scaling(), (2,), holes=True).all()
        >>> holes.x, holes.weight, holes.condition
        (tensor([[1., 0.]]), tensor([[1., 0.]]), {'observed': tensor([[ True, False]])})
    """

    x: Store
    scaling: Scaling
    shape: tuple[int, ...]
    labels: Tensor | None = None
    factors: Tensor | None = None
    factor_names: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()
    target: Store | None = None
    target_scaling: Scaling = field(default_factory=Scaling)
    channels_last: bool = False
    columns: Mapping[str, Store] = field(default_factory=dict)
    provenance: Provenance | None = None
    origin: np.ndarray | None = None
    truth: Any = None
    weight: Store | None = None
    holes: bool = False
    always: tuple[str, ...] = ()
    domain: Domain | None = None
    unknown: Mapping[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.x)

    @property
    def mapped(self) -> bool:
        """Whether the examples stay in a file and are read on demand."""
        return not isinstance(self.x, (Ragged, Once)) and on_disk(self.x)

    @property
    def known(self) -> Known:
        """Annotations of the examples that are not input to a model."""
        return Known(self.labels, self.factors, self.factor_names, self.columns, self.truth, self.provenance)

    @property
    def blocks(self) -> np.ndarray | None:
        """The number of rows of each block that is read as a whole; None if rows can be read in any order."""
        return self.x.blocks if isinstance(self.x, ActivationRows) else None

    @property
    def classes(self) -> int:
        """The number of classes; 0 without labels."""
        return len(self.class_names) if self.labels is not None else 0

    def batch(
        self, rows: Tensor | slice, conditions: tuple[str, ...] = (), device: str | torch.device = "cpu"
    ) -> Batch:
        """Some examples as input to a model: scaled float32, padded, missing values filled with 0.

        Args:
            rows: row indices, (B,) int64, or a slice.
            conditions: names of the conditions: ``"labels"`` gives one-hot labels (B, classes), the name of a
                column that column.
            device: device of the batch.

        Raises:
            RequestError: the data lack a condition.
        """
        stored, there = read_store(self.x, rows)
        x = self.arrange(stored) if there is None else self._scaled(stored)
        condition = self.condition(rows, (*conditions, *self.always))
        weight = None if self.weight is None else read_store(self.weight, rows)[0].float()
        target, counts = None, there
        if self.target is not None:  # with its own padding, which may differ from that of x
            raw, counts = read_store(self.target, rows)
            target = (raw if raw.dtype == torch.int64 else self.target_scaling.apply(raw)).to(device)
        if there is not None:
            condition["mask"] = there
            x = torch.where(_wide(there, x.dim()), x, x.new_zeros(()))
        if counts is not None:
            dims = (x if target is None else target).dim()
            seen = _wide(counts, dims)
            weight = seen.float() if weight is None else _wide(weight, dims) * seen
        if self.holes:
            seen = condition["observed"] = ~x.isnan()
            x = torch.where(seen, x, x.new_zeros(()))
            weight = seen.float() if weight is None else _wide(weight, seen.dim()) * seen
        moved = {name: value.to(device) for name, value in condition.items()}
        return Batch(x.to(device), target, moved, None if weight is None else weight.to(device))

    def arrange(self, stored: Tensor) -> Tensor:
        """Scale and lay out stored examples, (B, ...) -> (B, *shape)."""
        if self.channels_last:
            stored = stored.movedim(-1, 1)
        return self._scaled(stored.reshape(len(stored), *self.shape))

    def _scaled(self, x: Tensor) -> Tensor:
        """Scaled input of a model; integers (tokens) are not scaled."""
        return x if x.dtype == torch.int64 else self.scaling.apply(x)

    def condition(self, rows: Tensor | slice, names: tuple[str, ...]) -> dict[str, Tensor]:
        """Conditions of some rows, by name; the mask of a ragged column is ``NAME_mask``."""
        found: dict[str, Tensor] = {}
        for name in names:
            if name in self.columns:
                found[name], there = read_store(self.columns[name], rows)
                if there is not None:
                    found[f"{name}_mask"] = there
            else:
                found[name] = self._known(rows, name)
        return found

    def _known(self, rows: Tensor | slice, name: str) -> Tensor:
        """One-hot labels, (B, classes), or row indices, (B,)."""
        if name == "row":
            return torch.arange(len(self))[rows] if isinstance(rows, slice) else rows.cpu()
        if name != "labels":
            has = f"They have: {', '.join(sorted(self.columns))}." if self.columns else "They have none."
            raise RequestError(f"This method needs the column `{name}`, which the data do not have. {has}")
        if self.labels is None:
            raise RequestError(
                "This method needs labels, and the data have none. "
                "Name them with ``labels`` (a key, a column or an array)."
            )
        picked = self.labels[rows if isinstance(rows, slice) else rows.to(self.labels.device)]
        return one_hot(picked, self.classes).to(torch.float32)

    def all(
        self,
        limit: int | None = None,
        conditions: tuple[str, ...] = (),
        device: str | torch.device = "cpu",
    ) -> Batch:
        """Every example, or the first `limit`, as one batch."""
        return self.batch(slice(0, len(self) if limit is None else min(limit, len(self))), conditions, device)

    def take(self, n: int) -> Self:
        """The first n examples as a data set."""
        return self.rows(slice(0, n))

    def rows(self, rows: slice | Tensor) -> Self:
        """Some examples as a data set; memory-mapped data can only be indexed by a slice."""
        if self.mapped and not isinstance(rows, slice):
            raise refuse("rows", rows, "a slice, as the data are mapped from a file")
        names = ("x", "labels", "factors", "target", "provenance", "origin", "weight")
        cut = {name: getattr(self, name) for name in names}
        kept: dict[str, Any] = {name: None if v is None else v[rows] for name, v in cut.items()}
        return replace(self, **kept, columns={name: v[rows] for name, v in self.columns.items()})

    def to(self, device: str | torch.device) -> Dataset:
        """The same data set with its stores on a device (memory-mapped data stay in their file)."""
        if self.mapped:
            return self
        moved: dict[str, Any] = {
            name: None if (store := getattr(self, name)) is None else move(store, device)
            for name in ("x", "labels", "target", "weight")
        }
        columns = {name: move(store, device) for name, store in self.columns.items()}
        return replace(self, **moved, columns=columns)


def _wide(weight: Tensor, dims: int) -> Tensor:
    return weight.reshape(*weight.shape, *[1] * (dims - weight.dim()))


@dataclass(frozen=True, eq=False)
class Source:
    """Opened data: a training and a test set with one scaling, and how to open them again.

    Args:
        name: short name for reports.
        train: the training set.
        test: the test set.
        spec: description of the data for builders of methods.
        how: the arguments of `open` that open the same data again.
        truth: for synthetic data, the generating process (atoms, exact likelihood ...).
        left_out: what no model reads, such as columns of a table, and why.

    Example:
        >>> import narrows.data
        >>> digits = narrows.data.open("digits")
        >>> digits.spec.shape, len(digits.train), len(digits.test)
        ((1, 8, 8), 1438, 359)
        >>> len(narrows.data.open(**digits.describe()).test)
        359
    """

    name: str
    train: Dataset
    test: Dataset
    spec: Spec
    how: Mapping[str, Any] = field(default_factory=dict)
    truth: Any = None
    left_out: Mapping[str, str] = field(default_factory=dict)

    def describe(self) -> dict[str, Any]:
        """JSON-serialisable arguments of `open` for the same data, split and scaling.

        Data given as arrays cannot be opened from their description, but `data.like` accepts it.
        """
        spec = {
            **self.spec.to_json(),
            "class_names": list(self.train.class_names),
            "rows": [len(self.train), len(self.test)],
        }
        if self.train.provenance is not None:
            spec |= self.train.provenance.facts()
        form = {**self.how, "scaling": self.train.scaling.describe(), "spec": spec}
        if self.train.target is not None:
            form["target_scaling"] = self.train.target_scaling.describe()
        if self.train.domain is not None:
            form["domain"] = self.train.domain.describe()
        return form
