"""Data frames of pandas, polars and others, in and out through Arrow; none of them is imported here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from narrows.core.check import RequestError, optional

__all__ = ["arrow_columns", "framed", "is_frame"]


def is_frame(what: Any) -> bool:
    """Whether data are a frame: columns by name that Arrow can read."""
    return hasattr(what, "__arrow_c_stream__") and hasattr(what, "columns")


def arrow_columns(frame: Any) -> dict[str, Any]:
    """The columns of a frame by name, as Arrow arrays, without a pandas index.

    Raises:
        RequestError: a column with cells of several types, two columns of one name, or no rows.
    """
    pyarrow = optional("pyarrow", "tables", "read data frames")
    names = [str(name) for name in getattr(frame, "column_names", frame.columns)]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise RequestError(f"The data frame has two columns named `{twice}`. Rename one.")
    try:
        table = pyarrow.table(frame)
    except (pyarrow.ArrowException, TypeError, ValueError) as error:
        raise RequestError(
            f"The data frame cannot be read by Arrow: {str(error).rstrip('.')}. All cells of a column must have one "
            "type."
        ) from error
    if not table.num_rows:
        raise RequestError("The data frame has no rows.")
    # further columns are the index of pandas
    return {n: _known(table.column(i)) for i, n in enumerate(names)}


def _of_pandas(frame: Any) -> bool:
    return type(frame).__module__.partition(".")[0] == "pandas"


def _known(column: Any) -> Any:
    """A column with large strings in place of string views (of polars), for which Arrow lacks functions."""
    pyarrow, kind = optional("pyarrow", "tables", "read data frames"), column.type
    if str(kind) == "string_view":
        return column.cast(pyarrow.large_string())
    if "dictionary<values=string_view" not in str(kind):
        return column
    made = [
        pyarrow.DictionaryArray.from_arrays(
            chunk.indices, chunk.dictionary.cast(pyarrow.large_string()), ordered=kind.ordered
        )
        for chunk in column.chunks
    ]
    return pyarrow.chunked_array(
        made, pyarrow.dictionary(kind.index_type, pyarrow.large_string(), kind.ordered)
    )


def framed(columns: Mapping[str, Any], like: Any) -> Any:
    """Columns as a frame of the same kind as another.

    Args:
        columns: arrays, or columns of Arrow, by name.
        like: a frame; with equally many rows, its index is kept (of pandas).
    """
    pyarrow = optional("pyarrow", "tables", "make data frames")
    table = pyarrow.table(
        {name: pyarrow.array(c) if isinstance(c, list) else c for name, c in columns.items()}
    )
    if isinstance(like, pyarrow.Table):
        return table
    if not _of_pandas(like):
        return type(like)(table)  # as of polars
    frame = table.replace_schema_metadata(pyarrow.table(like).schema.metadata).to_pandas()
    if len(frame) == len(like):
        frame.index = like.index
    return frame
