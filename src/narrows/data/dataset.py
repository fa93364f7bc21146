"""`Dataset`: examples in memory or mapped from a file. `Source`: a training and a test part, and their scaling."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from narrows.core import Batch, Spec
from narrows.core.check import RequestError, refuse
from narrows.data.mapped import Rows, read_rows
from narrows.data.scaling import Scaling

__all__ = ["Dataset", "Source"]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Examples as they are stored, and how a model sees them.

    Args:
        x: the raw store, (N, *shape): a uint8 or float32 tensor (float64 where the scaling needs it), a memory-mapped
            array, or rows of a harvest.
        scaling: from stored numbers to what a model sees.
        shape: shape of one example as a model sees it, ``(C, H, W)``, ``(T, D)`` or ``(D,)``.
        labels: class of each example, (N,) int64, or None.
        factors: known generating factors, (N, F) int64, or None.
        factor_names: the names of the factors.
        class_names: the names of the classes.
        target: what must be produced, (N, ...), where it is not the input.
        target_scaling: the scaling of the target.
        channels_last: whether the store is (N, H, W, C); a batch is always (B, C, H, W).
        columns: further stores by name, (N, ...) each, that a method may be told: gradients, tokens ...
        origin: of activations, says of each row which token of which text it is
            (`narrows.activations.provenance.Origin`).
        truth: for a generated world, the world itself; the coefficients behind the examples are the column ``codes``.

    Example:
        >>> ds = Dataset(torch.arange(6, dtype=torch.uint8).reshape(3, 2), Scaling("unit", 0.0, 5.0), (2,))
        >>> ds.batch(torch.tensor([2])).x
        tensor([[0.8000, 1.0000]])
    """

    x: Rows
    scaling: Scaling
    shape: tuple[int, ...]
    labels: Tensor | None = None
    factors: Tensor | None = None
    factor_names: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()
    target: Rows | None = None
    target_scaling: Scaling = field(default_factory=Scaling)
    channels_last: bool = False
    columns: Mapping[str, Rows] = field(default_factory=dict)
    origin: Any = None
    truth: Any = None

    def __len__(self) -> int:
        return len(self.x)

    @property
    def mapped(self) -> bool:
        """Whether the examples stay in a file and are read as they are needed."""
        return not isinstance(self.x, Tensor)

    @property
    def classes(self) -> int:
        """How many classes the labels have; 0 without labels."""
        return len(self.class_names) if self.labels is not None else 0

    def batch(
        self, rows: Tensor | slice, given: str | None = None, device: str | torch.device = "cpu"
    ) -> Batch:
        """Some examples as a model sees them: scaled float32.

        Args:
            rows: row numbers, (B,) int64, or a slice.
            given: ``"labels"`` puts one-hot labels (B, classes) into ``batch.given``; the name of a column, that.
            device: where the batch must be.
        """
        target = None
        if self.target is not None:
            target = self.target_scaling.apply(read_rows(self.target, rows)).to(device)
        x = self.arrange(read_rows(self.x, rows)).to(device)
        return Batch(x, target, self.told(rows, given, device))

    def arrange(self, stored: Tensor) -> Tensor:
        """Scale and lay out stored examples, (B, ...) -> (B, *shape)."""
        if self.channels_last:
            stored = stored.movedim(-1, 1)
        return self.scaling.apply(stored.reshape(len(stored), *self.shape))

    def told(
        self, rows: Tensor | slice, given: str | None, device: str | torch.device = "cpu"
    ) -> Tensor | None:
        """What both sides are told about some rows: one-hot labels (B, classes), a column's rows, or None."""
        if given is None:
            return None
        if given in self.columns:
            return read_rows(self.columns[given], rows).to(device)
        if given != "labels":
            has = f"They have: {', '.join(sorted(self.columns))}." if self.columns else "They have none."
            raise RequestError(f"This method is told the column `{given}`, but the data lack it. {has}")
        if self.labels is None:
            raise RequestError(
                "This method is told the labels, but the data have none. "
                "Name them with ``labels`` (a key, a column or an array)."
            )
        picked = self.labels[rows if isinstance(rows, slice) else rows.to(self.labels.device)]
        return one_hot(picked, self.classes).to(device, torch.float32)

    def all(
        self, limit: int | None = None, given: str | None = None, device: str | torch.device = "cpu"
    ) -> Batch:
        """Every example, or the first `limit`, as one batch."""
        return self.batch(slice(0, len(self) if limit is None else min(limit, len(self))), given, device)

    def take(self, n: int) -> Dataset:
        """The first n examples as a data set of their own."""
        return self.rows(slice(0, n))

    def rows(self, rows: slice | Tensor) -> Dataset:
        """Some examples as a data set of their own; a mapped one can only be cut by a slice."""
        if self.mapped and not isinstance(rows, slice):
            raise refuse("rows", rows, "a slice for data that are mapped from a file")
        cut = {name: getattr(self, name) for name in ("x", "labels", "factors", "target", "origin")}
        kept: dict[str, Any] = {name: None if v is None else v[rows] for name, v in cut.items()}
        return replace(self, **kept, columns={name: v[rows] for name, v in self.columns.items()})

    def to(self, device: str | torch.device) -> Dataset:
        """The same data set with its store in a device's memory (a mapped one stays in its file)."""
        if self.mapped:
            return self
        stores = {name: getattr(self, name) for name in ("x", "labels", "target")}
        stores |= {f"columns/{name}": v for name, v in self.columns.items()}
        moved: dict[str, Any] = {n: v.to(device) if isinstance(v, Tensor) else v for n, v in stores.items()}
        columns = {name: moved.pop(f"columns/{name}") for name in self.columns}
        return replace(self, **moved, columns=columns)


@dataclass(frozen=True, eq=False)
class Source:
    """Data that were opened: a training and a test part with one scaling, and how to open them again.

    Args:
        name: short name for reports.
        train: the part a method is fitted on.
        test: the part that it is examined on.
        spec: what one example looks like; what a builder needs.
        how: the arguments of `open` that lead here again.
        truth: for a generated world, the world itself (atoms, exact likelihood ...).

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

    def describe(self) -> dict[str, Any]:
        """JSON-able arguments of `open`: the same data, split and scaling again.

        Data that were given as arrays cannot be opened from their description; `like` still works with it.
        """
        spec = {
            "shape": list(self.spec.shape),
            "values": self.spec.values,
            "classes": self.spec.classes,
            "target": None if self.spec.target is None else list(self.spec.target),
            "class_names": list(self.train.class_names),
            "rows": [len(self.train), len(self.test)],
        }
        if self.train.origin is not None:
            spec["model"] = self.train.origin.model
        form = {**self.how, "scaling": self.train.scaling.describe(), "spec": spec}
        if self.train.target is not None:
            form["target_scaling"] = self.train.target_scaling.describe()
        return form

    def like(self, what: Any, **options: Any) -> Dataset:
        """Read other data with this source's scaling.

        Raises:
            RequestError: the examples have another shape than this source's.

        Example:
            >>> import narrows.data, numpy as np
            >>> digits = narrows.data.open("digits")
            >>> digits.like(np.zeros((3, 8, 8), np.uint8)).all().x.shape
            torch.Size([3, 1, 8, 8])
        """
        from narrows.data.opening import like

        return like(self.describe(), what, **options)
