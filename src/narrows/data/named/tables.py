"""Tables: vectors (N, D)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np

from narrows.core import Spec
from narrows.core.check import WorkError
from narrows.core.files import sha256
from narrows.data.named.reading import arrays, paths
from narrows.data.named.registry import Set
from narrows.data.raw import Raw
from narrows.data.readers.tables import read_table

__all__ = ["adbench", "adult", "counts", "german"]


def adbench(row: Set) -> Raw:
    """One table of the collection; label 1 is an anomaly."""
    x, y = arrays(row, f"X_{row.part}", f"y_{row.part}")
    return Raw(x.astype(np.float32), y, class_names=("normal", "anomaly"), layout="vector", split=0.3)


def adult(
    row: Set,
    columns: list[str] | None = None,
    kind: Literal["array", "table"] = "array",
    parts: Mapping[str, Spec] | None = None,
) -> Raw:
    """UCI Adult: a mixed table, or numbers and an indicator for each value; the label is the income class."""
    return _csv(row, "income-per-year", columns, kind, parts)


def german(
    row: Set,
    columns: list[str] | None = None,
    kind: Literal["array", "table"] = "array",
    parts: Mapping[str, Spec] | None = None,
) -> Raw:
    """UCI German credit: a mixed table, or numbers and indicators; the label is the class (1 good, 2 bad)."""
    return _csv(row, "credit", columns, kind, parts)


def _csv(
    row: Set,
    labels: str,
    columns: list[str] | None,
    kind: Literal["array", "table"],
    parts: Mapping[str, Spec] | None,
) -> Raw:
    (path,) = paths(row)
    if sha256(path) != row.files[0].sha256:
        raise WorkError(f"{path} is damaged or another version. Delete it and get it again.")
    return read_table(path, labels=labels, columns=columns, one_hot=True, kind=kind, parts=parts)


def counts(row: Set) -> Raw:
    """Gene counts of single cells, made dense; not scaled. The label is the cell type where it is known."""
    data, indices, indptr, shape = arrays(row, "data", "indices", "indptr", "shape")
    x = np.zeros(tuple(shape), np.float32)
    x[np.repeat(np.arange(len(indptr) - 1), np.diff(indptr)), indices] = data
    labels = arrays(row, "cell_type")[0] if row.name == "pbmc68k" else None
    return Raw(x, labels, layout="vector", scale="none", split=0.2)
