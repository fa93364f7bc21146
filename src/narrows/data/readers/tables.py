"""Tables: columns of numbers and text, from CSV or Parquet files or data frames, as vectors or as mixed tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from narrows.core import Spec
from narrows.core.check import RequestError, nearest, refuse
from narrows.core.texts import names_of
from narrows.data.raw import Raw
from narrows.data.readers.cells import Cells
from narrows.data.readers.columns import Table, array_of, read_columns
from narrows.data.readers.mixed import mixed
from narrows.data.schema.declared import Types, declared_types

__all__ = ["read_table", "test_part"]

_HOLES = "Or fit a method that reads text and missing cells, such as `missing-iwae`, `iwae` or `vae`."
_LABELS = ("label", "labels", "class", "y")
_MOST_VALUES = 1000


def read_table(
    what: Any,
    labels: str | None = None,
    target: str | Sequence[str] | None = None,
    columns: str | Sequence[str] | None = None,
    split: str | None = None,
    one_hot: bool = False,
    layout: str = "auto",
    kind: Literal["array", "table", "either"] = "array",
    categories: str | Sequence[str] | None = None,
    types: str | Sequence[str] | Mapping[str, str] | None = None,
    missing_values: str | Sequence[str] | None = None,
    parts: Mapping[str, Spec] | None = None,
) -> Raw:
    """Read a .csv or .tsv file (optionally with .gz), a .parquet file, or a data frame.

    Args:
        what: the path of the file, or a frame with `__arrow_c_stream__`, as those of pandas, polars and Arrow.
        labels: the column of the classes; when None, a column named label, labels, class or y; ``"none"`` for
            none.
        target: the column or columns to predict from the others.
        columns: the columns to use, all other ones when None, for arrays all numeric ones; ``job=clerk`` is 1 if
            `job` is `clerk`. A column of lists of equal length is an array.
        split: the column that marks the rows of the test set.
        one_hot: use text columns too, with an indicator for each value.
        layout: the memory layout of an example in a column of lists, see `narrows.data.shapes`.
        kind: ``array``: complete numbers, (N, D); ``table``: columns of any types, with missing cells;
            ``either``: an array if all columns are complete numbers or `one_hot` is given, else a table.
        categories: numeric columns of a table that are categorical.
        types: types of columns of a table, see `narrows.data.schema.declared`.
        missing_values: texts that mean a missing cell of a table, in addition to empty ones.
        parts: for a table, the columns of the training data.
    """
    for argument, given in (("categories", categories), ("types", types), ("missing_values", missing_values)):
        if kind == "array" and given:
            raise refuse(argument, given, "left out: this method needs complete numbers", _HOLES)
    name = what.name if isinstance(what, Path) else "the data frame"
    goals, markers = names_of(target), names_of(missing_values)
    table = None
    if kind == "either":
        table = _plain(what)
        aside = {_label_column(table, labels), split, *goals}
        read = names_of(columns) or [column for column in table if column not in aside]
        numbers = one_hot or goals or _complete(table, read)
        kind = "array" if numbers and not (types or categories or markers) else "table"
    if kind == "table" and not goals:
        cells = Cells.read(what, markers) if isinstance(what, Path) else Cells.of_frame(what, markers)
        label = _label_column(cells.columns, labels)
        chosen = names_of(columns) or [n for n in cells.columns if n not in (label, split)]
        if not any(_is_array(cells.columns.get(n)) for n in chosen):
            return _mixed(
                cells, chosen, name, label, split, _Types(types, names_of(categories)), parts, bool(columns)
            )
    table = _plain(what) if table is None else table
    label = _label_column(table, labels)
    chosen = names_of(columns) or _all_columns(table, {label, split, *goals}, one_hot, name)
    x = _stacked(table, chosen, name, "columns")
    return Raw(
        x,
        None if label is None else table[label],
        _stacked(table, goals, name, "target") if goals else None,
        part=None if split is None else test_part(_picked(table, split, "split"), split),
        columns=tuple(chosen),
        layout=layout if x.ndim > 2 else "vector",
    )


def _plain(what: Any) -> Table:
    """The columns of a file or a frame as arrays."""
    return read_columns(what) if isinstance(what, Path) else Cells.of_frame(what).plain()


def _complete(table: Table, columns: Sequence[str]) -> bool:
    """Whether columns have numbers only, and none is missing."""
    found = [table[name] for name in columns if name in table]
    return not any(values.dtype == object or np.isnan(values).any() for values in found)


class _Types(NamedTuple):
    """The declared types, and further columns that are categorical."""

    types: Types
    categories: Sequence[str]


def _mixed(
    cells: Cells,
    chosen: Sequence[str],
    name: str,
    label: str | None,
    split: str | None,
    given: _Types,
    parts: Mapping[str, Spec] | None,
    keep: bool,
) -> Raw:
    """The columns of a mixed table."""
    types = {} if parts else declared_types(given.types, cells.columns, given.categories)
    found = mixed(cells, chosen, name, types=types, known=parts, keep=keep)
    if split is not None:
        _picked(cells.columns, split, "split")
    return Raw(
        found.x,
        None if label is None else array_of(cells.columns[label], label),
        part=None if split is None else test_part(array_of(cells.columns[split], split), split),
        columns=tuple(found.parts),
        layout="vector",
        kind="table",
        holes=bool(np.isnan(found.x).any()),
        parts=found.parts,
        left_out=found.left_out,
        unknown=found.unknown,
    )


def _is_array(column: Any) -> bool:
    """Whether the cells of a column are lists."""
    return "list" in str(getattr(column, "type", "")) or (isinstance(column, np.ndarray) and column.ndim > 1)


def test_part(values: np.ndarray, name: str) -> np.ndarray:
    """The mask of the test set, (N,) bool, from a column of 0 and 1 or of train, val, test.

    Example:
        >>> test_part(np.array(["train", "test"]), "split").tolist()
        [False, True]
    """
    texts = [str(v).lower() for v in values.tolist()]
    meaning = {**dict.fromkeys(("0", "0.0", "false", "train", "training"), False)}
    meaning.update(dict.fromkeys(("1", "1.0", "true", "test", "val", "valid", "validation", "dev"), True))
    unknown = sorted(set(texts) - set(meaning))
    if unknown:
        raise refuse(
            "split", name, "a column of 0 and 1, or of train, val and test", f"It has {unknown[:3]}."
        )
    return np.array([meaning[t] for t in texts], dtype=bool)


def _all_columns(table: Table, aside: set[str | None], one_hot: bool, name: str) -> list[str]:
    """All columns except `aside`; text ones as indicators with `one_hot`."""
    chosen, texts = [], []
    for column, values in table.items():
        if column in aside:
            continue
        if values.dtype != object:
            chosen.append(column)
            continue
        texts.append(column)
        seen = np.unique(values)
        if one_hot and len(seen) > _MOST_VALUES:
            raise RequestError(
                f"Column `{column}` of {name} has {len(seen)} different texts, too many for indicators."
            )
        chosen += [f"{column}={value}" for value in seen.tolist()]
    if texts and not one_hot:
        raise RequestError(
            f"{name} has text in {', '.join(f'`{t}`' for t in texts[:8])}. Use one of them as the classes "
            f"(``labels={texts[0]!r}``), use indicators for their values (``one_hot=True``), "
            f"or name the columns to use (``columns``). {_HOLES}"
        )
    if not chosen:
        raise RequestError(f"{name} has no numeric column left for the values.")
    wide = [c for c in chosen if c in table and table[c].ndim > 1]
    if wide and len(chosen) > 1:
        raise RequestError(
            f"{name} has columns of arrays: {', '.join(f'`{w}`' for w in wide)}. "
            f"Select one: ``columns={wide[0]!r}``."
        )
    return chosen


def _stacked(table: Table, columns: Sequence[str], name: str, argument: str) -> np.ndarray:
    """Columns stacked, (N, D); a single column of arrays unchanged, (N, ...)."""
    if len(columns) == 1 and columns[0] in table and table[columns[0]].ndim > 1:
        return table[columns[0]]
    parts = []
    for column in columns:
        base, equals, value = column.partition("=")
        if column not in table and equals and base in table:
            parts.append(np.array([str(v) == value for v in table[base].tolist()], dtype=np.float64))
            continue
        values = _picked(table, column, argument)
        if values.dtype == object or values.ndim > 1:
            raise refuse(argument, column, "columns of one number per row", "For text write `column=value`.")
        infinite, gone = np.flatnonzero(np.isinf(values)), np.flatnonzero(np.isnan(values))
        if len(infinite):
            raise RequestError(
                f"Column `{column}` of {name} is infinite in {len(infinite)} rows; the first is row {infinite[0]}. "
                "Correct or empty those cells."
            )
        if len(gone):
            raise RequestError(
                f"Column `{column}` of {name} is empty or NaN in {len(gone)} rows; the first is row {gone[0]}. "
                f"Drop or fill those rows first. {_HOLES}"
            )
        parts.append(values)
    return np.stack(parts, 1)


def _picked(table: Mapping[str, Any], column: str, argument: str) -> Any:
    if column not in table:
        raise refuse(argument, column, "a column of the table", nearest(column, table))
    return table[column]


def _label_column(table: Mapping[str, Any], labels: str | None) -> str | None:
    if labels is not None:
        if labels == "none":
            return None
        _picked(table, labels, "labels")
        return labels
    found = [c for c in table if c.lower() in _LABELS]
    if len(found) > 1:
        raise RequestError(
            f"The class may be {' or '.join(f'`{f}`' for f in found)}. Select one, such as ``labels={found[0]!r}``."
        )
    return found[0] if found else None
