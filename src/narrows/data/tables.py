"""Tables: columns of numbers and text, from CSV or Parquet, as vectors."""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TextIO, TypeAlias

import numpy as np

from narrows.check import RequestError, nearest, optional, refuse
from narrows.data.raw import Raw

__all__ = ["Table", "parse_csv", "read_columns", "read_table", "test_part"]

Table: TypeAlias = dict[str, np.ndarray]
"""Column name to its values: float64 (N,), text (N,), or several numbers a row (N, ...)."""

_LABELS = ("label", "labels", "class", "y")
_MOST_VALUES = 1000


def read_table(
    path: Path,
    labels: str | None = None,
    target: str | Sequence[str] | None = None,
    columns: str | Sequence[str] | None = None,
    split: str | None = None,
    one_hot: bool = False,
    layout: str = "auto",
) -> Raw:
    """Read a .csv or .tsv file (also with .gz behind), or a .parquet file.

    Args:
        path: the file.
        labels: the column of the classes; a column called label, labels, class or y when None; ``"none"`` for none.
        target: the column or columns that must be produced from the others.
        columns: the columns to use, all other numeric ones when None; ``job=clerk`` is 1 where `job` is `clerk`.
            A column of lists of one length is an array of its own.
        split: the column that says which rows are the test part.
        one_hot: use text columns too, an indicator for each value.
        layout: how an example of a column of lists lies, see `narrows.data.shapes`.
    """
    name = path.name
    table = read_columns(path)
    label = _label_column(table, labels)
    goals = _listed(target)
    chosen = _listed(columns) or _all_columns(table, {label, split, *goals}, one_hot, name)
    x = _stacked(table, chosen, name, "columns")
    return Raw(
        x,
        None if label is None else table[label],
        _stacked(table, goals, name, "target") if goals else None,
        part=None if split is None else test_part(_picked(table, split, "split"), split),
        columns=tuple(chosen),
        layout=layout if x.ndim > 2 else "vector",
    )


def read_columns(path: Path) -> Table:
    """The columns of a `.csv`, `.tsv`, `.csv.gz` or `.parquet` file, as they are.

    Raises:
        RequestError: no such file, or one that cannot be read.
    """
    if not path.is_file():
        raise RequestError(f"There is no file {path}.")
    return _parquet(path) if path.suffix.lower() == ".parquet" else _csv(path)


def _csv(path: Path) -> Table:
    open_text = gzip.open if path.suffix == ".gz" else Path.open
    try:
        with open_text(path, "rt", encoding="utf-8-sig", newline="") as file:
            return parse_csv(file, path.name)
    except (UnicodeDecodeError, EOFError, gzip.BadGzipFile, zlib.error, csv.Error) as error:
        raise RequestError(
            f"{path} cannot be read as a table of text: {error}. Is it damaged, or not UTF-8?"
        ) from error


def _parquet(path: Path) -> Table:
    pyarrow = optional("pyarrow", "tables", "read Parquet files")
    parquet = optional("pyarrow.parquet", "tables", "read Parquet files")
    try:
        read = parquet.read_table(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise RequestError(f"{path} cannot be read as Parquet: truncated or damaged ({error}).") from error
    return {name: _column(read.column(name).combine_chunks(), name) for name in read.column_names}


def parse_csv(file: TextIO, name: str) -> Table:
    """Read a table with or without a line of column names; without one they are c0, c1 ..."""
    first = file.readline()
    separator = max(",;\t", key=first.count) if first.strip() else ","
    file.seek(0)
    rows = [row for row in csv.reader(file, delimiter=separator, skipinitialspace=True) if row]
    if not rows:
        raise RequestError(f"{name} is empty: there is no row in it.")
    headed = any(_values([cell.strip()]).dtype.kind == "U" for cell in rows[0])
    names = [cell.strip() for cell in rows[0]] if headed else [f"c{i}" for i in range(len(rows[0]))]
    body = rows[1:] if headed else rows
    if not body:
        raise RequestError(f"{name} has 0 rows below its line of column names.")
    if len(set(names)) < len(names):
        twice = next(n for n in names if names.count(n) > 1)
        raise RequestError(f"{name} has two columns called `{twice}`. Rename one.")
    for number, row in enumerate(body, 2 if headed else 1):
        if len(row) != len(names):
            raise RequestError(
                f"{name} has {len(row)} cells in line {number}, but {len(names)} columns. Mend that line."
            )
    return {n: _values([row[i].strip() for row in body]) for i, n in enumerate(names)}


def test_part(values: np.ndarray, name: str) -> np.ndarray:
    """Which rows are the test part, (N,) bool, from a column of 0 and 1 or of train, val, test.

    Example:
        >>> test_part(np.array(["train", "test"]), "split").tolist()
        [False, True]
    """
    texts = [str(v).lower() for v in values.tolist()]
    meaning = {**dict.fromkeys(("0", "0.0", "false", "train", "training"), False)}
    meaning.update(dict.fromkeys(("1", "1.0", "true", "test", "val", "valid", "validation", "dev"), True))
    strange = sorted(set(texts) - set(meaning))
    if strange:
        raise refuse(
            "split", name, "a column of 0 and 1, or of train, val and test", f"It holds {strange[:3]}."
        )
    return np.array([meaning[t] for t in texts], dtype=bool)


def _all_columns(table: Table, aside: set[str | None], one_hot: bool, name: str) -> list[str]:
    """All columns that are not put aside; text ones as indicators, if that is wanted."""
    chosen, texts = [], []
    for column, values in table.items():
        if column in aside:
            continue
        if values.dtype.kind != "U":
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
            f"{name} has text in {', '.join(f'`{t}`' for t in texts[:8])}. Make one of them the classes "
            f"(``labels={texts[0]!r}``), use indicators for their values (``one_hot=True``), "
            "or name the columns to use (``columns``)."
        )
    if not chosen:
        raise RequestError(f"{name} has no column of numbers left to learn from.")
    wide = [c for c in chosen if c in table and table[c].ndim > 1]
    if wide and len(chosen) > 1:
        raise RequestError(
            f"{name} has columns of arrays: {', '.join(f'`{w}`' for w in wide)}. "
            f"Say which is meant: ``columns={wide[0]!r}``."
        )
    return chosen


def _stacked(table: Table, columns: Sequence[str], name: str, argument: str) -> np.ndarray:
    """Columns side by side, (N, D); one column of arrays as it is, (N, ...)."""
    if len(columns) == 1 and columns[0] in table and table[columns[0]].ndim > 1:
        return table[columns[0]]
    parts = []
    for column in columns:
        base, equals, value = column.partition("=")
        if column not in table and equals and base in table:
            parts.append((table[base].astype(str) == value).astype(np.float32))
            continue
        values = _picked(table, column, argument)
        if values.dtype.kind == "U" or values.ndim > 1:
            raise refuse(argument, column, "columns of one number a row", "For text write `column=value`.")
        bad = np.flatnonzero(~np.isfinite(values))
        if len(bad):
            raise RequestError(
                f"Column `{column}` of {name} is empty, NaN or infinite in {len(bad)} rows; the first is row {bad[0]}. "
                "Drop or fill those rows first."
            )
        parts.append(values.astype(np.float32))
    return np.stack(parts, 1)


def _picked(table: Mapping[str, np.ndarray], column: str, argument: str) -> np.ndarray:
    if column not in table:
        raise refuse(argument, column, "a column of the table", nearest(column, table))
    return table[column]


def _label_column(table: Table, labels: str | None) -> str | None:
    if labels is not None:
        if labels == "none":
            return None
        _picked(table, labels, "labels")
        return labels
    found = [c for c in table if c.lower() in _LABELS]
    if len(found) > 1:
        raise RequestError(
            f"Which column is the class, {' or '.join(f'`{f}`' for f in found)}? Say ``labels={found[0]!r}``."
        )
    return found[0] if found else None


def _listed(names: str | Sequence[str] | None) -> list[str]:
    if names is None:
        return []
    return [n.strip() for n in names.split(",")] if isinstance(names, str) else list(names)


def _values(cells: list[str]) -> np.ndarray:
    """A column as numbers where every cell is one (an empty cell is NaN), as text otherwise."""
    texts = np.array(cells, dtype=np.str_)
    try:
        return np.where(texts == "", "nan", texts).astype(np.float64)
    except ValueError:
        lower = np.char.lower(texts)
        truth = np.isin(lower, ("true", "false"))
        return (lower == "true").astype(np.float64) if truth.all() else texts


def _column(column: object, name: str) -> np.ndarray:
    """A Parquet column as an array: numbers, text, or lists of one length."""
    values = column.to_numpy(zero_copy_only=False)  # type: ignore[attr-defined]
    if values.dtype != object:
        return values.astype(np.float64) if values.dtype.kind in "fiub" else values.astype(np.str_)
    if len(values) and isinstance(values[0], np.ndarray):
        lengths = {len(v) if v is not None else 0 for v in values}
        if len(lengths) > 1:
            raise RequestError(
                f"Column `{name}` holds lists of {min(lengths)} to {max(lengths)} values; one length is needed."
            )
        return np.stack(values)
    return np.array(["" if v is None else str(v) for v in values], dtype=np.str_)
