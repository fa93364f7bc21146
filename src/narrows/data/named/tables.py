"""Tables: vectors (N, D)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np

from narrows.core import Spec
from narrows.data.named.reading import arrays, verified
from narrows.data.named.registry import Set
from narrows.data.raw import Raw
from narrows.data.readers.tables import read_table

__all__ = ["adbench", "counts", "mixed"]

_CLASS = {"adult": "income-per-year", "german-credit": "credit"}
"""The column of the class of each mixed table: for German credit 1 is good and 2 is bad."""


def adbench(row: Set) -> Raw:
    """One table of the collection; label 1 is an anomaly."""
    x, y = arrays(row, f"X_{row.part}", f"y_{row.part}")
    return Raw(x.astype(np.float32), y, class_names=("normal", "anomaly"), layout="vector", split=0.3)


def mixed(
    row: Set,
    columns: list[str] | None = None,
    kind: Literal["array", "table"] = "array",
    parts: Mapping[str, Spec] | None = None,
) -> Raw:
    """A mixed table, or numbers and an indicator for each value; the label is the class that its papers predict."""
    label = _CLASS[row.name]
    return read_table(verified(row), labels=label, columns=columns, one_hot=True, kind=kind, parts=parts)


def counts(row: Set) -> Raw:
    """Gene counts of single cells as a dense array, not scaled. The label is the cell type if it is known."""
    data, indices, indptr, shape = arrays(row, "data", "indices", "indptr", "shape")
    x = np.zeros(tuple(shape), np.float32)
    x[np.repeat(np.arange(len(indptr) - 1), np.diff(indptr)), indices] = data
    labels = arrays(row, "cell_type")[0] if row.name == "pbmc68k" else None
    return Raw(x, labels, layout="vector", scale="counts", split=0.2)
