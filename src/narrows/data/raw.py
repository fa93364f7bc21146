"""`Raw`: what a reader hands over, before split, scaling and checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from narrows.core.spec import Kind, Spec

if TYPE_CHECKING:
    from narrows.data.domain import Domain

__all__ = ["Raw", "RawTexts"]


@dataclass
class Raw:
    """Examples as a file or a generator gives them.

    Args:
        x: the examples, (N, ...): an array, memory-mapped or not, `ActivationRows` of a harvest, or `Ragged` rows.
        labels: class of each example, (N,) numbers or text.
        target: what must be produced, (N, ...).
        factors: known generating factors, (N, F) whole numbers.
        factor_names: their names.
        class_names: names of the classes, where labels are their numbers.
        test: the official test part, where there is one.
        part: for each example whether it belongs to the test part, (N,) bool.
        columns: the columns of a table that `x` holds.
        layout: how an example lies in memory, see `narrows.data.shapes`.
        full: the largest value that the format can have.
        ordered: whether neighbours resemble each other (one long series), so that the last rows must be the test.
        groups: what each example is a piece of, (N,), where all pieces belong into one part.
        split: the share of the test part when nobody says.
        scale: the scaling when nobody says.
        truth: for a synthetic set, what generated it.
        codes: for a synthetic dictionary, the coefficients behind each example, (N, atoms).
        stores: further columns by name, (N, ...) each, see `Dataset.columns`.
        provenance: says where each row came from, see `Dataset.provenance`.
        kind: what an example is, see `Spec.kind`; anything but an array keeps its shape as it is stored.
        holes: whether NaN in `x` is a missing value.
        always: of the stores, those that every batch brings unasked.
        domain: of fields, where they are defined (`narrows.data.domain.Domain`).
        parts: the columns of a table.
    """

    x: Any
    labels: np.ndarray | None = None
    target: Any = None
    factors: np.ndarray | None = None
    factor_names: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()
    test: Raw | None = None
    part: np.ndarray | None = None
    columns: tuple[str, ...] = ()
    layout: str = "auto"
    full: float | None = None
    ordered: bool = False
    groups: np.ndarray | None = None
    split: float = 0.1
    scale: str = "auto"
    truth: Any = None
    codes: np.ndarray | None = None
    stores: Mapping[str, Any] = field(default_factory=dict)
    provenance: Any = None
    kind: Kind = "array"
    holes: bool = False
    always: tuple[str, ...] = ()
    domain: Domain | None = None
    parts: Mapping[str, Spec] = field(default_factory=dict)

    def rows(self, rows: np.ndarray | slice) -> Raw:
        """Some of the examples (without the test part)."""
        names = ("x", "labels", "target", "factors", "codes", "provenance", "groups")
        cut = {name: getattr(self, name) for name in names}
        kept: dict[str, Any] = {name: None if v is None else v[rows] for name, v in cut.items()}
        stores = {name: v[rows] for name, v in self.stores.items()}
        return replace(self, test=None, part=None, stores=stores, **kept)


@dataclass
class RawTexts(Raw):
    """Texts as a file or a generator gives them, one an example.

    Args:
        unit: what a symbol is, ``characters`` or ``words``.
        least: how often a symbol must stand in the training part to be one of the vocabulary.
    """

    kind: Kind = "tokens"
    unit: str = "characters"
    least: int = 1
