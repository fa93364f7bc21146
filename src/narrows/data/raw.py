"""`Raw`: the output of a reader, before split, scaling and checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from narrows.core.spec import Kind, Spec
from narrows.data.mapped import on_disk

if TYPE_CHECKING:
    from narrows.data.domain import Domain

__all__ = ["Raw", "RawTexts"]


@dataclass
class Raw:
    """Examples from a file or a generator.

    Args:
        x: the examples, (N, ...): an array, memory-mapped or not, `ActivationRows`, or `Ragged` rows.
        labels: class of each example, (N,) numbers or text.
        target: the target of each example, (N, ...).
        factors: known generating factors, (N, F) integers.
        factor_names: their names.
        class_names: names of the classes, if labels are class indices.
        test: the official test set, if there is one.
        part: whether each example belongs to the test set, (N,) bool.
        columns: the columns of a table in `x`.
        layout: the memory layout of an example, see `narrows.data.shapes`.
        full: the largest value of the format.
        ordered: whether consecutive rows are correlated (one long series), so that the last rows are the test
            set.
        groups: the group of each example, (N,), if all examples of a group must be in the same part.
        spans: of windows, the first step in their series and the one after the last, (N, 2); parts share no step.
        split: the default fraction of the test set.
        scale: the default scaling.
        truth: for synthetic data, the generating process.
        codes: for a synthetic dictionary, the coefficients of each example, (N, atoms).
        stores: further columns by name, (N, ...) each, see `Dataset.columns`.
        provenance: the origin of each row, see `Dataset.provenance`.
        origin: the number of each row in the file, see `Dataset.origin`.
        kind: the kind of an example, see `Spec.kind`; all kinds except arrays keep their stored shape.
        holes: whether NaN in `x` is a missing value.
        always: names of the stores that are included in every batch.
        domain: for fields, their domain (`narrows.data.domain.Domain`).
        parts: the columns of a table.
        left_out: what no model reads, such as columns of a table, and why.
        batches: names of the columns of the store ``batch``.
        unknown: number of cells by column of a table with a level that the training data do not have.
    """

    x: Any
    labels: np.ndarray | None = None
    target: Any = None
    factors: np.ndarray | None = None
    factor_names: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()
    test: Self | None = None
    part: np.ndarray | None = None
    columns: tuple[str, ...] = ()
    layout: str = "auto"
    full: float | None = None
    ordered: bool = False
    groups: np.ndarray | None = None
    spans: np.ndarray | None = None
    split: float = 0.1
    scale: str = "auto"
    truth: Any = None
    codes: np.ndarray | None = None
    stores: Mapping[str, Any] = field(default_factory=dict)
    provenance: Any = None
    origin: np.ndarray | None = None
    kind: Kind = "array"
    holes: bool = False
    always: tuple[str, ...] = ()
    domain: Domain | None = None
    parts: Mapping[str, Spec] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    batches: tuple[str, ...] = ()
    unknown: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.test is not None:
            self.test = replace(self.test, factor_names=self.factor_names)

    def __len__(self) -> int:
        return len(self.x)

    @property
    def in_order(self) -> bool:
        """Whether parts are consecutive rows: rows are correlated, or stay in a file."""
        return self.ordered or on_disk(self.x)

    def numbered(self) -> Self:
        """The same examples with their row numbers, unless they have them."""
        return self if self.origin is not None else replace(self, origin=np.arange(len(self)))

    def rows(self, rows: np.ndarray | slice) -> Self:
        """Some of the examples (without the test part)."""
        names = ("x", "labels", "target", "factors", "codes", "provenance", "origin", "groups", "spans")
        cut = {name: getattr(self, name) for name in names}
        kept: dict[str, Any] = {name: None if v is None else v[rows] for name, v in cut.items()}
        stores = {name: v[rows] for name, v in self.stores.items()}
        return replace(self, test=None, part=None, stores=stores, **kept)


@dataclass
class RawTexts(Raw):
    """Texts from a file or a generator, one per example.

    Args:
        unit: the type of tokens, ``characters`` or ``words``.
        least: minimum count of a token in the training set to be in the vocabulary.
    """

    kind: Kind = "tokens"
    unit: str = "characters"
    least: int = 1
