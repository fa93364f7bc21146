"""A table as a model reads it: its columns by type, and their cells as numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from narrows.core import Spec
from narrows.core.check import RequestError, nearest
from narrows.data.mapped import on_disk
from narrows.data.raw import Raw
from narrows.data.readers.cells import Cells
from narrows.data.schema.coded import coded
from narrows.data.schema.declared import Declared
from narrows.data.schema.infer import infer
from narrows.data.schema.typed import Typed, typed

__all__ = ["Mixed", "as_table", "mixed"]


@dataclass(frozen=True)
class Mixed:
    """A mixed table.

    Args:
        x: cells as numbers (N, D), NaN for missing ones.
        parts: the columns, in order.
        left_out: the columns that are left out, and why.
        unknown: number of cells by column with a level that the training data do not have, which are NaN in `x`.
    """

    x: np.ndarray
    parts: Mapping[str, Spec]
    left_out: Mapping[str, str]
    unknown: Mapping[str, int]


def mixed(
    cells: Cells,
    columns: Sequence[str],
    name: str,
    *,
    types: Mapping[str, Declared] | None = None,
    known: Mapping[str, Spec] | None = None,
    keep: bool = False,
) -> Mixed:
    """The columns of a table by type, and their cells as numbers.

    Args:
        cells: the table.
        columns: the columns to use, in order.
        name: name of the table, for messages.
        types: declared types of columns.
        known: the columns of the training data: they are read in the same way.
        keep: whether to refuse or keep columns that say nothing (see `infer`), instead of leaving them out.

    Raises:
        RequestError: a column does not exist, or cannot be read.

    Example:
        >>> found = mixed(Cells({"age": ["39", ""], "job": ["", "clerk"]}), ["age", "job"], "people", keep=True)
        >>> found.x.tolist(), found.parts["job"].vocabulary
        ([[39.0, nan], [nan, 0.0]], ('clerk',))
    """
    made, parts, left_out, unknown = [], {}, {}, {}
    for column in columns:
        if column not in cells.columns:
            raise RequestError(
                f"{name} has no column `{column}`, which the model needs. "
                f"{nearest(column, cells.columns)} If all of it is missing, add an empty column of that name."
            )
        values = _typed(cells, column, name)
        spec = known[column] if known is not None else None
        if spec is None:
            found = infer(values, column, name, (types or {}).get(column), keep)
            if found.spec is None:
                left_out[column] = f"{found.kind}: {found.reason}"
                continue
            spec = found.spec
        parts[column] = spec
        made.append(coded(values, spec, column, name))
        if unseen := int((np.isnan(made[-1]) & ~values.missing).sum()):
            unknown[column] = unseen
    if not made:
        listed = "; ".join(f"`{column}` ({why})" for column, why in left_out.items())
        raise RequestError(f"{name} has no column that a model can read: {listed}. Declare one: ``types``.")
    return Mixed(np.stack(made, 1), parts, left_out, unknown)


def as_table(raw: Raw, name: str, known: Mapping[str, Spec] | None = None) -> Raw:
    """Vectors as a table; NaN is a missing cell.

    Args:
        raw: vectors (N, D); other data are returned unchanged.
        name: name of the data, for messages.
        known: as in `mixed`.
    """
    if raw.kind == "table" or np.ndim(raw.x) != 2 or on_disk(raw.x) or raw.target is not None:
        return raw
    names = list(known or raw.columns or (f"c{i}" for i in range(raw.x.shape[1])))
    if len(names) != raw.x.shape[1]:
        return raw
    cells = Cells({column: raw.x[:, i] for i, column in enumerate(names)})
    found = mixed(cells, names, name, known=known, keep=True)
    test = None if raw.test is None else as_table(raw.test, name, found.parts)
    holes = bool(np.isnan(found.x).any())
    return replace(
        raw,
        x=found.x,
        kind="table",
        parts=found.parts,
        test=test,
        layout="vector",
        holes=holes,
        unknown=found.unknown,
    )


def _typed(cells: Cells, column: str, name: str) -> Typed:
    values = cells.columns[column]
    if isinstance(values, np.ndarray) and values.ndim > 1:
        raise RequestError(
            f"Column `{column}` of {name} contains arrays; each cell of a table must be one value."
        )
    return typed(values, cells.holes(column))
