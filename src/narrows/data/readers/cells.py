"""The cells of a user's table: missing ones are filled, all others are unchanged, bit for bit."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from narrows.core import Spec
from narrows.core.check import RequestError, optional
from narrows.data.readers.columns import Table, array_of, read_arrow, read_texts
from narrows.data.readers.frames import arrow_columns, framed
from narrows.data.schema.written import as_dictionary, cells_of, in_units

__all__ = ["Arrays", "Cells", "encoded"]


class Arrays(dict[str, np.ndarray]):
    """The columns of a table as arrays by name.

    Args:
        arrays: by name, (N,) each.
        cells: the columns in the types of the user's table.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], cells: Cells) -> None:
        super().__init__(arrays)
        self.cells = cells

    def frame(self, like: Any) -> Any:
        """A data frame of the kind of another (pandas, polars or Arrow), with its types, levels and time zones."""
        return framed(self.cells.columns, like)


class Cells:
    """The columns of a table by name, as in a file or in memory.

    Args:
        columns: each a list of texts (of a .csv), a column of Arrow (of a .parquet or a frame), or a NumPy array.
        missing: texts that mean a missing cell, in addition to empty ones, NaN and null.
        frame: the frame that the columns are of, or None.
        metadata: those of the schema of a .parquet file, such as the index of pandas.

    Example:
        >>> cells = Cells({"age": ["39", "", "41"], "job": ["clerk", "?", "nurse"]}, missing=("?",))
        >>> cells.holes("age").tolist(), cells.holes("job").tolist()
        ([False, True, False], [False, True, False])
        >>> cells.fill("age", [38.7])
        >>> cells.fill("job", ["clerk"])
        >>> cells.columns
        {'age': ['39', '39', '41'], 'job': ['clerk', 'clerk', 'nurse']}
    """

    def __init__(
        self,
        columns: Mapping[str, Any],
        missing: Sequence[str] = (),
        frame: Any = None,
        metadata: Mapping[bytes, bytes] | None = None,
    ) -> None:
        self.columns, self.missing, self.frame, self.metadata = dict(columns), tuple(missing), frame, metadata

    @classmethod
    def read(cls, path: Path, missing: Sequence[str] = ()) -> Cells:
        """The cells of a .csv, .tsv, .csv.gz or .parquet file.

        Raises:
            RequestError: the file does not exist or cannot be read.
        """
        if path.suffix.lower() != ".parquet":
            return cls(read_texts(path), missing)
        columns, parquet = read_arrow(path), optional("pyarrow.parquet", "tables", "read Parquet files")
        return cls(columns, missing, metadata=parquet.read_schema(path).metadata)

    @classmethod
    def of_frame(cls, frame: Any, missing: Sequence[str] = ()) -> Cells:
        """The cells of a data frame.

        Raises:
            RequestError: it has a column with cells of several types, or two columns of one name.
        """
        return cls(arrow_columns(frame), missing, frame)

    @classmethod
    def of_rows(cls, x: np.ndarray, parts: Mapping[str, Spec]) -> Cells:
        """The values of a model, (N, D), as cells in the types of the columns that it was trained on."""
        return cls(cells_of(in_units(x, parts), parts, new=True))

    def framed(self) -> Any:
        """The columns as a frame of the kind that they came from."""
        return framed(self.columns, self.frame)

    def plain(self) -> Table:
        """The columns as arrays of numbers or text."""
        return {name: array_of(column, name) for name, column in self.columns.items()}

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def holes(self, name: str) -> np.ndarray:
        """The mask of missing cells of a column, (N,)."""
        column = self.columns[name]
        if isinstance(column, list):
            empty = {"", "nan", *(text.lower() for text in self.missing)}
            return np.array([text.lower() in empty for text in column])
        values = column if isinstance(column, np.ndarray) else _objects(column)
        if values.dtype.kind == "f":
            named = [float(text) for text in self.missing if _is_number(text)]
            return np.isnan(values) | np.isin(values, named)
        return np.array([_missing(value, self.missing) for value in values.tolist()], dtype=bool)

    def fill(self, name: str, values: Sequence[float] | Sequence[str]) -> None:
        """Fill the missing cells of a column, in order; with integers if all other cells are."""
        self.put(name, np.flatnonzero(self.holes(name)), values)

    def put(self, name: str, rows: np.ndarray, values: Sequence[Any]) -> None:
        """Set some cells of a column, in the format of the others.

        Args:
            name: the column.
            rows: row indices, (R,).
            values: R numbers, texts or timestamps (datetime64); None leaves a cell as it is.
        """
        there = np.array([value is not None for value in values], dtype=bool)
        rows, values = rows[there], [value for value in values if value is not None]
        if len(rows):
            column, order = self.columns[name], np.argsort(rows)
            rows, values = rows[order], [values[place] for place in order]
            if isinstance(column, list):
                self.columns[name] = _fill_texts(column, rows, values)
            else:
                fill = _fill_array if isinstance(column, np.ndarray) else _fill_arrow
                self.columns[name] = fill(column, rows, values)

    def blank(self, name: str, rows: np.ndarray) -> None:
        """Empty some cells of a column."""
        column = self.columns[name]
        if isinstance(column, list):
            gone = set(rows.tolist())
            self.columns[name] = ["" if row in gone else text for row, text in enumerate(column)]
        elif isinstance(column, np.ndarray):
            kind = (
                column.dtype if column.dtype.kind == "f" else float if column.dtype.kind in "iub" else object
            )
            emptied = column.astype(kind)
            emptied[rows] = None if kind is object else np.nan
            self.columns[name] = emptied
        else:
            there = np.ones(len(column), dtype=bool)
            there[rows] = False
            none = _arrow("scalar")(None, type=column.type)
            compute = optional("pyarrow.compute", "tables", "fill Parquet columns")
            self.columns[name] = compute.if_else(_arrow("array")(there), column, none)

    def add(self, name: str, like: Any, rows: np.ndarray, values: Sequence[Any]) -> None:
        """Add a column in the format of another: values at some rows, the other cells empty.

        Args:
            name: the column.
            like: the other column.
            rows: row indices, (R,).
            values: R numbers, texts or timestamps.

        Raises:
            RequestError: there is a column of this name.

        Example:
            >>> cells = Cells({"age": ["39", "40", "41"]})
            >>> cells.add("age_lower", cells.columns["age"], np.array([1]), [36.2])
            >>> cells.columns["age_lower"]
            ['', '36', '']
        """
        made = Cells({name: like}, self.missing)
        made.put(name, rows, values)
        made.blank(name, np.delete(np.arange(len(self)), rows))
        self._new(name)
        self.columns[name] = made.columns[name]

    def _new(self, name: str) -> None:
        """Check that a column can be added."""
        if name in self.columns:
            raise RequestError(
                f"The table has a column `{name}`, which is the name of a column to be added. Rename it."
            )

    def take(self, rows: np.ndarray) -> Cells:
        """Rows by index, (R,), which may repeat.

        Example:
            >>> Cells({"a": ["1", "2"]}).take(np.array([0, 1, 1])).columns
            {'a': ['1', '2', '2']}
        """
        columns = {
            name: [column[row] for row in rows.tolist()]
            if isinstance(column, list)
            else column[rows]
            if isinstance(column, np.ndarray)
            else column.take(_arrow("array")(rows))
            for name, column in self.columns.items()
        }
        return Cells(columns, self.missing, self.frame, self.metadata)

    def repeated(self, times: int) -> Cells:
        """The rows repeated, with a first column `draw` that numbers the repeats.

        Raises:
            RequestError: there is a column of this name.
        """
        self._new("draw")
        rows = len(self)
        columns: dict[str, Any] = {"draw": np.repeat(np.arange(times), rows)}
        for name, column in self.columns.items():
            if isinstance(column, list):
                columns[name] = column * times
            elif isinstance(column, np.ndarray):
                columns[name] = np.concatenate([column] * times)
            else:
                chunks = getattr(column, "chunks", [column])
                columns[name] = _arrow("chunked_array")(chunks * times, type=column.type)
        return Cells(columns, self.missing, self.frame, self.metadata)

    def arrays(self) -> Arrays:
        """The columns as NumPy arrays: numbers if all cells are, else text."""
        return Arrays({name: _as_array(column) for name, column in self.columns.items()}, self)

    def encoded(self, kind: str) -> bytes:
        """The content of a file: ``.csv``, ``.parquet`` or ``.npz``."""
        return encoded(self.columns, kind, self.metadata)


def encoded(columns: Mapping[str, Any], kind: str, metadata: Mapping[bytes, bytes] | None = None) -> bytes:
    r"""Columns of `Cells`, or arrays (N, ...), as the content of a .csv, .parquet or .npz file.

    Args:
        columns: by name.
        kind: the suffix.
        metadata: those of the schema of a .parquet file.

    Example:
        >>> encoded({"a": ["1", ""], "b": np.array([0.5, 2.0])}, ".csv")
        b'a,b\n1,0.5\n,2.0\n'
    """
    if kind == ".npz":
        buffer = io.BytesIO()
        np.savez_compressed(buffer, allow_pickle=False, **{n: _as_array(c) for n, c in columns.items()})
        return buffer.getvalue()
    if kind == ".parquet":
        parquet, buffer = optional("pyarrow.parquet", "tables", "write Parquet files"), io.BytesIO()
        table = {n: _as_array(c) if isinstance(c, list) else c for n, c in columns.items()}
        parquet.write_table(_arrow("table")(table).replace_schema_metadata(metadata), buffer)
        return buffer.getvalue()
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*(_as_texts(column) for column in columns.values()), strict=True))
    return text.getvalue().encode()


def _fill_texts(column: list[str], holes: np.ndarray, values: list[Any]) -> list[str]:
    """Fill text cells, with numbers in the format of the others."""
    gone = set(holes.tolist())
    known = Counter(text for row, text in enumerate(column) if row not in gone)
    filled = list(column)
    if values and isinstance(values[0], str):
        texts = values
    elif known and all(_truth(text) for text in known):
        words = {_truth(text) == "true": text for text, _ in known.most_common()[::-1]}
        texts = [words.get(value > 0.5, str(value > 0.5).lower()) for value in values]
    else:
        whole = bool(known) and all(_is_whole(text) for text in known)
        texts = [str(round(value)) if whole else str(np.float32(value)) for value in values]
    for row, text in zip(holes.tolist(), texts, strict=True):
        filled[row] = text
    return filled


def _fill_array(column: np.ndarray, holes: np.ndarray, values: list[Any]) -> np.ndarray:
    filled = column.copy()
    if column.dtype.kind == "f" and values and not isinstance(values[0], str):
        filled[holes] = np.rint(values) if _all_whole(np.delete(column, holes)) else values
    else:
        filled = filled.astype(object) if filled.dtype.kind in "US" else filled
        filled[holes] = values
    return filled


def _fill_arrow(column: Any, holes: np.ndarray, values: list[Any]) -> Any:
    """Fill an Arrow column, keeping its type."""
    types, kind = optional("pyarrow.types", "tables", "read Parquet files"), column.type
    inner = kind.value_type if types.is_dictionary(kind) else kind
    if types.is_null(inner):  # all cells are missing
        inner = _arrow("string" if isinstance(values[0], str) else "float64")()
    others = np.delete(_objects(column), holes)
    if types.is_boolean(inner):
        made: list[Any] = [v in ("True", "true") if isinstance(v, str) else v > 0.5 for v in values]
    elif types.is_integer(inner):
        made = [round(float(v)) for v in values]
    elif types.is_temporal(inner):
        made = _arrow("array")(np.array(values, "datetime64[us]")).cast(inner).to_pylist()
    elif types.is_decimal(inner):
        made = [Decimal(f"{float(v):.{max(inner.scale, 0)}f}") for v in values]
    elif types.is_floating(inner):
        made = [float(v) for v in (np.rint(values) if _all_whole(others) else values)]
    else:
        made = [str(v) for v in values]
    mask = np.zeros(len(column), dtype=bool)
    mask[holes] = True
    plain = column if inner == kind else column.cast(inner)
    plain = plain.combine_chunks() if hasattr(plain, "chunks") else plain
    compute = optional("pyarrow.compute", "tables", "fill Parquet columns")
    filled = compute.replace_with_mask(plain, mask, _arrow("array")(made, type=inner))
    if not types.is_dictionary(kind):
        return filled
    known = column.unify_dictionaries().combine_chunks() if hasattr(column, "chunks") else column
    return as_dictionary(filled, known.dictionary.to_pylist(), kind)


def _as_array(column: Any) -> np.ndarray:
    if isinstance(column, list):
        return _typed(column)
    values = column if isinstance(column, np.ndarray) else _objects(column)
    return values.astype(str) if values.dtype == object else values


def _typed(texts: list[str]) -> np.ndarray:
    """Texts as integers or floats if all can be parsed as such, else as text."""
    if all(_is_whole(text) and abs(int(text)) < 1 << 63 for text in texts):
        return np.array([int(text) for text in texts], dtype=np.int64)
    codes = any(
        _is_number(text) and text.lstrip("+-")[:1] == "0" and text.isdigit() and len(text) > 1
        for text in texts
    )
    if not codes and all(text == "" or _is_number(text) for text in texts):
        return np.array([float(text or "nan") for text in texts])
    return np.array(texts, dtype=np.str_)


def _as_texts(column: Any) -> list[str]:
    if isinstance(column, list):
        return column
    values = column.tolist() if isinstance(column, np.ndarray) else column.to_pylist()
    return ["" if value is None or value != value else str(value) for value in values]


def _objects(column: Any) -> np.ndarray:
    """An Arrow column as an array: floats with NaN for numbers, else objects."""
    if hasattr(column.type, "index_type"):  # dictionary-encoded
        column = column.cast(column.type.value_type)
    values: np.ndarray = (
        column.to_numpy() if hasattr(column, "chunks") else column.to_numpy(zero_copy_only=False)
    )
    return values


def _missing(value: Any, missing: Sequence[str]) -> bool:
    if isinstance(value, (list, np.ndarray)):
        return False
    return value is None or value != value or str(value) == "" or str(value) in missing


def _all_whole(values: np.ndarray) -> bool:
    values = values[~np.isnan(values)] if values.dtype.kind == "f" else values
    return bool(len(values)) and bool((values == np.rint(values)).all())


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _is_whole(text: str) -> bool:
    """Whether a text is an integer in standard notation, without leading zeros."""
    digits = text.removeprefix("-")
    return digits.isdecimal() and digits.isascii() and (digits == "0" or digits[0] != "0")


def _truth(text: str) -> str:
    lower = text.lower()
    return lower if lower in ("true", "false") else ""


def _arrow(name: str) -> Any:
    return getattr(optional("pyarrow", "tables", "use Parquet files"), name)
