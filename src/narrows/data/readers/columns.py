"""Columns by name, from CSV or Parquet files."""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Collection, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, TextIO, TypeAlias

import numpy as np

from narrows.core.check import RequestError, optional
from narrows.data.memory import make_room

__all__ = ["Table", "array_of", "parse_csv", "read_arrow", "read_columns", "read_texts"]

Table: TypeAlias = dict[str, np.ndarray]
"""Column name to its values: float64 (N,), text (N,) as objects, or several numbers per row (N, ...)."""

_LONGEST_LINE = 1 << 24
_LONGEST_NUMBER = 400
_CELLS = 1 << 15
"""Number of cells parsed at a time."""
_COPIES = 4
"""Maximum number of copies of all numbers in memory while loading."""


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
    return {name: array_of(column, name) for name, column in read.items()}


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


def array_of(column: Any, name: str) -> np.ndarray:
    """A column as an array: numbers, text, or lists of equal length.

    Args:
        column: texts, a column of Arrow, or an array.
        name: its name, for messages.

    Example:
        >>> array_of(["1", ""], "a").tolist(), array_of(["1", "x"], "a").tolist()
        ([1.0, nan], ['1', 'x'])
    """
    if isinstance(column, np.ndarray):
        return column
    if isinstance(column, list):
        kind, numbers = _kind(column)
        return _texts(column) if kind == "text" else numbers
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
