"""Tables: vectors (N, D)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np

from narrows.core import Spec
from narrows.data.named.reading import arrays, verified
from narrows.data.named.registry import Set
from narrows.data.raw import Raw
from narrows.data.readers.counts import cells
from narrows.data.readers.tables import read_table
from narrows.data.sparse_rows import SparseRows

__all__ = ["adbench", "counts", "mixed"]

_CLASS = {"adult": "income-per-year", "german-credit": "credit"}
"""The column of the class of each mixed table: for German credit 1 is good and 2 is bad."""


_OF_CELLS = {"pbmc68k": ("cell_type", "louvain")}
"""What is known of each cell; the first is the label."""


def adbench(row: Set) -> Raw:
    """One table of the collection; label 1 is an anomaly."""
    x, y = arrays(row, f"X_{row.part}", f"y_{row.part}")
    return Raw(x.astype(np.float32), y, class_names=("normal", "anomaly"), layout="vector", split=0.3)


def mixed(
    row: Set,
    columns: list[str] | None = None,
    kind: Literal["array", "table", "either"] = "array",
    parts: Mapping[str, Spec] | None = None,
) -> Raw:
    """A mixed table, or numbers and an indicator for each value; the label is the class that its papers predict."""
    label, one_hot = _CLASS[row.name], kind == "array"
    return read_table(verified(row), labels=label, columns=columns, one_hot=one_hot, kind=kind, parts=parts)


def counts(
    row: Set,
    labels: str | None = None,
    batch_key: str | None = None,
    batches: list[str] | None = None,
    min_counts: int = 0,
) -> Raw:
    """Gene counts of single cells, not scaled. The label is the cell type if it is known."""
    known = dict(
        zip(
            ("data", "indices", "indptr", "shape"),
            arrays(row, "data", "indices", "indptr", "shape"),
            strict=True,
        )
    )
    x = SparseRows.of(known["data"], known["indices"], known["indptr"], int(known["shape"][1]))
    named = _OF_CELLS.get(row.name, ())
    told = dict(zip(named, arrays(row, *named), strict=True)) if named else {}
    labels = named[0] if labels is None and named else labels
    return cells(
        x, row.name, told, labels=labels, batch_key=batch_key, batches=batches, min_counts=min_counts
    )
