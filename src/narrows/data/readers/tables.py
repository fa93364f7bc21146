"""Tables: columns of numbers and text, from CSV or Parquet, as vectors."""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal, TextIO, TypeAlias

import numpy as np

from narrows.core import Spec
from narrows.core.check import RequestError, nearest, optional, refuse
from narrows.core.texts import names_of
from narrows.data.memory import make_room
from narrows.data.raw import Raw
from narrows.data.readers.mixed import mixed

__all__ = ["Table", "parse_csv", "read_arrow", "read_columns", "read_table", "read_texts", "test_part"]

Table: TypeAlias = dict[str, np.ndarray]
"""Column name to its values: float64 (N,), text (N,) as objects, or several numbers per row (N, ...)."""

_HOLES = "Or fit a method for mixed tables with text and missing cells: `missing-iwae`."
_LABELS = ("label", "labels", "class", "y")
_MOST_VALUES = 1000
_LONGEST_LINE = 1 << 24
_LONGEST_NUMBER = 400
_CELLS = 1 << 15
"""Number of cells parsed at a time."""
_COPIES = 4
"""Maximum number of copies of all numbers in memory while loading."""


def read_table(
    path: Path,
    labels: str | None = None,
    target: str | Sequence[str] | None = None,
    columns: str | Sequence[str] | None = None,
    split: str | None = None,
    one_hot: bool = False,
    layout: str = "auto",
    kind: Literal["array", "table"] = "array",
    categories: str | Sequence[str] | None = None,
    missing_values: str | Sequence[str] | None = None,
    parts: Mapping[str, Spec] | None = None,
) -> Raw:
    """Read a .csv or .tsv file (optionally with .gz), or a .parquet file.

    Args:
        path: the file.
        labels: the column of the classes; when None, a column named label, labels, class or y; ``"none"`` for
            none.
        target: the column or columns to predict from the others.
        columns: the columns to use, all other numeric ones when None; ``job=clerk`` is 1 if `job` is `clerk`. A
            column of lists of equal length is an array.
        split: the column that marks the rows of the test set.
        one_hot: use text columns too, with an indicator for each value.
        layout: the memory layout of an example in a column of lists, see `narrows.data.shapes`.
        kind: ``array``: complete numbers, (N, D); ``table``: numeric and categorical columns, with missing cells.
        categories: numeric columns of a table that are categorical.
        missing_values: texts that mean a missing cell of a table, in addition to empty ones.
        parts: for a table, the columns of the training data.
    """
    name, words = path.name, names_of(categories)
    if kind == "array" and (words or missing_values):
        given = "categories" if words else "missing_values"
        raise refuse(given, words or missing_values, "left out: this method needs complete numbers", _HOLES)
    as_text = [*words, *(n for n, part in (parts or {}).items() if part.values == "categories")]
    table = read_columns(path, as_text)
    label = _label_column(table, labels)
    goals = names_of(target)
    aside = {label, split, *goals}
    if kind == "table" and not goals and not any(v.ndim > 1 for n, v in table.items() if n not in aside):
        chosen = names_of(columns) or [n for n in table if n not in aside]
        x, kinds = mixed(table, chosen, name, categories=words, missing=names_of(missing_values), known=parts)
        return Raw(
            x,
            None if label is None else table[label],
            part=None if split is None else test_part(_picked(table, split, "split"), split),
            columns=tuple(chosen),
            layout="vector",
            kind="table",
            holes=bool(np.isnan(x).any()),
            parts=kinds,
        )
    chosen = names_of(columns) or _all_columns(table, aside, one_hot, name)
    x = _stacked(table, chosen, name, "columns")
    return Raw(
        x,
        None if label is None else table[label],
        _stacked(table, goals, name, "target") if goals else None,
        part=None if split is None else test_part(_picked(table, split, "split"), split),
        columns=tuple(chosen),
        layout=layout if x.ndim > 2 else "vector",
    )


def read_columns(path: Path, texts: Collection[str] = (), blanks: bool = False) -> Table:
    """The columns of a `.csv`, `.tsv`, `.csv.gz` or `.parquet` file.

    Args:
        path: the file.
        texts: columns of a text file that are always read as text.
        blanks: whether a blank line of a text file with one column is a row with an empty cell; else it is skipped.

    Raises:
        RequestError: the file does not exist or cannot be read.
    """
    if not path.is_file():
        raise RequestError(f"There is no file {path}.")
    return _parquet(path) if path.suffix.lower() == ".parquet" else _csv(path, texts, blanks)


def read_texts(path: Path) -> dict[str, list[str]]:
    """The columns of a text table with all cells as text, stripped of spaces.

    Raises:
        RequestError: the file does not exist or cannot be read.
    """
    if not path.is_file():
        raise RequestError(f"There is no file {path}.")
    return {name: values.tolist() for name, values in _csv(path, None).items()}


def _csv(path: Path, texts: Collection[str] | None = (), blanks: bool = False) -> Table:
    open_text = gzip.open if path.suffix == ".gz" else Path.open
    try:
        with open_text(path, "rt", encoding="utf-8-sig", newline="") as file:
            return parse_csv(file, path.name, texts, blanks)
    except (UnicodeDecodeError, EOFError, gzip.BadGzipFile, zlib.error, csv.Error) as error:
        raise RequestError(
            f"{path} cannot be read as a table of text: {error}. Is it damaged, or not UTF-8?"
        ) from error


def _parquet(path: Path) -> Table:
    read = read_arrow(path)
    return {name: _column(column, name) for name, column in read.items()}


def read_arrow(path: Path) -> dict[str, Any]:
    """The columns of a Parquet file, as Arrow arrays.

    Raises:
        RequestError: the file does not exist or is damaged, or two columns have the same name.
    """
    if not path.is_file():
        raise RequestError(f"There is no file {path}.")
    pyarrow = optional("pyarrow", "tables", "read Parquet files")
    parquet = optional("pyarrow.parquet", "tables", "read Parquet files")
    try:
        with parquet.ParquetFile(path) as file:
            metadata = file.metadata
            make_room(4 * 8 * metadata.num_rows * metadata.num_columns, str(path))
            read = file.read(use_threads=False)
        if len(set(read.column_names)) < len(read.column_names):
            raise RequestError(f"{path} has two columns of the same name. Rename one.")
        return {name: read.column(name) for name in read.column_names}
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
        if isinstance(error, RequestError):
            raise
        raise RequestError(f"{path} cannot be read as Parquet: truncated or damaged ({error}).") from error


def parse_csv(file: TextIO, name: str, texts: Collection[str] | None = (), blanks: bool = False) -> Table:
    """Read a table with or without a header; without one columns are named c0, c1 ...

    Rows are parsed in blocks, so that a table needs little more memory than its numbers.

    Args:
        file: the table, which is read from its start.
        name: name of the table, for messages.
        texts: columns that are always read as text; all when None.
        blanks: whether a blank line of a table with one column is a row with an empty cell; else it is skipped.
    """
    late: set[str] = set()
    while True:  # again, if a column has text after a block of numbers
        file.seek(0)
        table, found = _parsed(file, name, None if texts is None else {*texts, *late}, blanks)
        if not found:
            return table
        late |= found


def _parsed(file: TextIO, name: str, texts: set[str] | None, blanks: bool) -> tuple[Table, set[str]]:
    """The table, with the columns `texts` as text, and further columns that must be read as text."""
    first = file.readline(_LONGEST_LINE)
    separator = max(",;\t", key=first.count) if first.strip() else ","
    file.seek(0)
    cells = csv.reader(_lines(file), delimiter=separator, skipinitialspace=True)
    rows: Iterator[list[str]] = (row for row in cells if row)
    head = next(rows, None)
    if head is None:
        raise RequestError(f"{name} is empty: it has no rows.")
    names, headed = _names(head, name)
    columns = [_Column(texts is None or called in texts) for called in names]
    if blanks and len(names) == 1:
        rows = (row or [""] for row in cells)
    rows = rows if headed else chain([head], rows)
    at_once = max(1, _CELLS // len(names))
    number = 0
    while block := list(islice(rows, at_once)):
        for row in block:
            number += 1
            if len(row) != len(names):
                line = number + headed
                raise RequestError(
                    f"{name} has {len(row)} cells in line {line}, but {len(names)} columns. Correct that line."
                )
        make_room(_COPIES * 8 * number * len(names), name)
        for column, values in zip(columns, zip(*block, strict=True), strict=True):
            column.add([value.strip() for value in values])
    if not number:
        raise RequestError(f"{name} has 0 rows below its header.")
    late = {called for called, column in zip(names, columns, strict=True) if column.late}
    if late:
        return {}, late
    return {n: np.concatenate(column.blocks) for n, column in zip(names, columns, strict=True)}, late


def _names(head: list[str], name: str) -> tuple[list[str], bool]:
    """The names of the columns, and whether the first row is a header."""
    headed = any(_kind([cell.strip()])[0] == "text" for cell in head)
    names = [cell.strip() for cell in head] if headed else [f"c{i}" for i in range(len(head))]
    if len(set(names)) < len(names):
        twice = next(n for n in names if names.count(n) > 1)
        raise RequestError(f"{name} has two columns named `{twice}`. Rename one.")
    return names, headed


def _lines(file: TextIO) -> Iterator[str]:
    """The lines of a file, with a limit on their length."""
    while line := file.readline(_LONGEST_LINE):
        if len(line) == _LONGEST_LINE and not line.endswith("\n"):
            raise csv.Error(f"a line has more than {_LONGEST_LINE} characters")
        yield line


class _Column:
    """The blocks of a column, as numbers as long as all of them can be parsed.

    Args:
        is_text: whether the column is read as text.
    """

    def __init__(self, is_text: bool) -> None:
        self.is_text, self.late, self.kind = is_text, False, ""
        self.blocks: list[np.ndarray] = []
        self.known: dict[str, str] = {}

    def add(self, cells: list[str]) -> None:
        """Add a block; if text follows numbers, the column is `late`, and must be read again."""
        if not self.is_text:
            kind, values = _kind(cells)
            self.is_text = kind == "text" or self.kind not in ("", kind)
            self.late = self.is_text and bool(self.blocks)
            self.kind = kind
        if not self.late:
            self.blocks.append(_texts(cells, self.known) if self.is_text else values)


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
        bad = np.flatnonzero(~np.isfinite(values))
        if len(bad):
            raise RequestError(
                f"Column `{column}` of {name} is empty, NaN or infinite in {len(bad)} rows; the first is row {bad[0]}. "
                f"Drop or fill those rows first. {_HOLES}"
            )
        parts.append(values)
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
            f"The class may be {' or '.join(f'`{f}`' for f in found)}. Select one, such as ``labels={found[0]!r}``."
        )
    return found[0] if found else None


def _kind(cells: list[str]) -> tuple[str, np.ndarray]:
    """A block of cells as numbers (NaN for empty cells) or booleans, if all can be parsed, else as text."""
    if max(map(len, cells)) <= _LONGEST_NUMBER:
        texts = np.array(cells, dtype=np.str_)
        try:
            return "number", np.where(texts == "", "nan", texts).astype(np.float64)
        except ValueError:
            lower = np.char.lower(texts)
            if np.isin(lower, ("true", "false")).all():
                return "truth", (lower == "true").astype(np.float64)
    return "text", np.empty(0)


def _texts(cells: Sequence[str], known: dict[str, str] | None = None) -> np.ndarray:
    """Text, (N,) objects: equal texts are stored once, and a long one does not widen the others."""
    known = {} if known is None else known
    array = np.empty(len(cells), dtype=object)
    array[:] = [known.setdefault(cell, cell) for cell in cells]
    return array


def _column(column: Any, name: str) -> np.ndarray:
    """A Parquet column as an array: numbers, text, or lists of equal length."""
    values = column.combine_chunks().to_numpy(zero_copy_only=False)
    if values.dtype != object:
        return (
            values.astype(np.float64) if values.dtype.kind in "fiub" else _texts(values.astype(str).tolist())
        )
    if len(values) and isinstance(values[0], np.ndarray):
        shapes = {np.shape(v) for v in values}
        if len(shapes) > 1:
            lengths = {s[0] if s else 0 for s in shapes}
            raise RequestError(
                f"Column `{name}` has lists of {min(lengths)} to {max(lengths)} values, but all must have one length."
            )
        return np.stack(values)
    return _texts(["" if v is None else str(v) for v in values])
