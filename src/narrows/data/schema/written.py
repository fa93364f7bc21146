"""Numbers of a model as cells of the user's table: levels, dates with their time zone, whole numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from narrows.core import Spec
from narrows.core.check import optional
from narrows.core.columns import LEVELS
from narrows.data.scaling import Scaling
from narrows.data.schema.dates import text_of
from narrows.data.schema.typed import TEXT

__all__ = ["as_dictionary", "cells_of", "in_units", "scaled", "written"]

_WHOLE = ("integer", "counts")
_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


def scaled(parts: Mapping[str, Spec], scaling: Scaling) -> dict[str, Spec]:
    """The columns, with the scaling of each."""
    shift, scale = (
        each if isinstance(each, tuple) else (each,) * len(parts) for each in (scaling.shift, scaling.scale)
    )
    return {
        name: part
        if part.column is None
        else replace(part, column=replace(part.column, shift=one, scale=other))
        for (name, part), one, other in zip(parts.items(), shift, scale, strict=True)
    }


def in_units(x: np.ndarray, parts: Mapping[str, Spec]) -> np.ndarray:
    """Values of a model (..., D) in the units of the table, as float64.

    Args:
        x: values of a model.
        parts: the columns, with their scaling.
    """
    columns = [part.column for part in parts.values()]
    shift = np.array([0.0 if column is None else column.shift for column in columns])
    scale = np.array([1.0 if column is None else column.scale for column in columns])
    found: np.ndarray = x.astype(np.float64) * scale + shift
    return found


def written(values: np.ndarray, spec: Spec) -> list[Any]:
    """Numbers of a column, in the units of the table, as cells: texts, numbers or dates (datetime64).

    A level that stands for all rare ones is None in a column that is not text. Numbers are not negative where no
    training cell is.

    Args:
        values: (N,), finite.
        spec: the column.

    Example:
        >>> written(np.array([1.0, 0.0]), Spec((), "categories", 2, vocabulary=("clerk", "nurse")))
        ['nurse', 'clerk']
    """
    column = spec.column
    if spec.values in LEVELS:
        names = _names(spec)
        return [names[int(number)] for number in values]
    if spec.values == "binary":
        ones = np.rint(values).clip(0, 1)
        return [spec.vocabulary[int(one)] for one in ones] if spec.vocabulary else list(ones.tolist())
    if column is not None and spec.values != "datetime" and column.low >= 0:
        values = values.clip(0, None)
    if spec.values == "datetime":
        if column is not None and column.form:
            return [text_of(seconds, column.form) for seconds in values.tolist()]
        unit = _unit("" if column is None else column.dtype)
        return list((np.rint(values / unit) * unit * 1e6).round().astype("datetime64[us]"))
    if spec.values in _WHOLE:
        return list(np.rint(values).tolist())
    return list(values.tolist())


def cells_of(units: np.ndarray, parts: Mapping[str, Spec], new: bool = False) -> dict[str, Any]:
    """Rows as columns by name: texts for columns of a CSV file, else columns of Arrow, or arrays.

    Args:
        units: values in the units of the table, (N, D), finite.
        parts: the columns.
        new: whether the rows are those of a model, whose numbers and dates are rounded as those of the column.
    """
    columns = {}
    for place, (name, part) in enumerate(parts.items()):
        values = _rounded(units[:, place], part) if new else units[:, place]
        columns[name] = _column(written(values, part), part)
    return columns


def _rounded(values: np.ndarray, spec: Spec) -> np.ndarray:
    """Numbers with the digits of their column, and dates in minutes or seconds if it is no finer."""
    resolution = 0.0 if spec.column is None else spec.column.resolution
    if spec.values in ("real", "positive") and resolution > 0:
        return values.round(max(0, math.ceil(-math.log10(resolution))))
    unit = next((unit for unit in (60.0, 1.0) if unit <= resolution), 0.0)
    return np.rint(values / unit) * unit if spec.values == "datetime" and unit else values


def _column(values: list[Any], spec: Spec) -> Any:
    """Cells as a column of the type of the training data."""
    dtype = "" if spec.column is None else spec.column.dtype
    if dtype == TEXT:
        if spec.values == "binary" and not spec.vocabulary:
            texts = ("false", "true") if spec.column is not None and spec.column.form else ("0", "1")
            return [texts[int(value)] for value in values]
        return [_text(value, spec.values in _WHOLE) for value in values]
    if not dtype or dtype in ("object", "bool") or re.fullmatch(r"(u?int|float)\d+|<U\d+", dtype):
        array = np.array(values)
        return array.astype(dtype) if dtype and array.dtype.kind in "fiub" and dtype != "object" else array
    return _arrow(values, dtype, [name for name in _names(spec) if name is not None])


def _text(value: Any, whole: bool) -> str:
    if isinstance(value, str):
        return value
    return str(int(value)) if whole else repr(float(value))


def _names(spec: Spec) -> list[str | None]:
    """The levels of a column as its cells; None for that of all rare ones where its name cannot be a cell."""
    names: list[str | None] = list(spec.vocabulary)
    if spec.column is not None and spec.column.other and not _is_text(spec.column.dtype):
        names[-1] = None
    return names


def as_dictionary(values: Any, levels: Iterable[Any], kind: Any) -> Any:
    """An array of Arrow as codes of levels.

    Args:
        values: the array.
        levels: the levels in order; others of the values are appended.
        kind: a type of dictionaries.

    Example:
        >>> import pyarrow as pa
        >>> made = as_dictionary(pa.array(["b", "a"]), ["a", "b"], pa.dictionary(pa.int8(), pa.string()))
        >>> made.dictionary.to_pylist(), made.indices.to_pylist()
        (['a', 'b'], [1, 0])
    """
    pyarrow = optional("pyarrow", "tables", "make Parquet columns")
    compute = optional("pyarrow.compute", "tables", "make Parquet columns")
    known = dict.fromkeys([*levels, *compute.unique(values).to_pylist()])
    known.pop(None, None)
    table = pyarrow.array(list(known), type=kind.value_type)
    codes = compute.index_in(values, value_set=table).cast(kind.index_type)
    return pyarrow.DictionaryArray.from_arrays(codes, table, ordered=kind.ordered)


def _arrow(values: list[Any], dtype: str, levels: Sequence[str] = ()) -> Any:
    """Cells as an Arrow array of a type; dictionaries have the levels in their order."""
    pyarrow = optional("pyarrow", "tables", "make Parquet columns")
    inner = re.fullmatch(r"dictionary<values=([^,]+), indices=(\w+), ordered=(\d)>", dtype)
    if inner:
        kind = pyarrow.dictionary(_type(inner[2]), _type(inner[1]), ordered=inner[3] == "1")
        return as_dictionary(_arrow(values, inner[1]), _arrow(list(levels), inner[1]).to_pylist(), kind)
    kind = _type(dtype)
    if dtype == "bool":
        return pyarrow.array([None if v is None else v in (1.0, "true") for v in values], kind)
    if dtype.startswith(("int", "uint")):
        return pyarrow.array([None if v is None else round(float(v)) for v in values], kind)
    if dtype.startswith(("timestamp", "date")) and values and isinstance(values[0], np.datetime64):
        moments = pyarrow.array(np.array(values, "datetime64[us]").astype(np.int64))
        zone = re.search(r"tz=([^\]]+)", dtype)
        moments = moments.cast(pyarrow.timestamp("us", tz=zone[1] if zone else None))
        return moments.cast(kind)
    if dtype.startswith("decimal"):
        from decimal import Decimal

        places = int(re.findall(r"-?\d+", dtype)[-1])
        return pyarrow.array(
            [None if v is None else Decimal(f"{float(v):.{max(places, 0)}f}") for v in values], kind
        )
    if "string" in dtype:
        return pyarrow.array([None if v is None else str(v) for v in values], kind)
    return pyarrow.array([None if v is None else float(v) for v in values], kind)


def _type(dtype: str) -> Any:
    """The type of Arrow of a text such as ``timestamp[us, tz=UTC]`` or ``decimal128(9, 2)``."""
    pyarrow = optional("pyarrow", "tables", "make Parquet columns")
    stamp = re.fullmatch(r"timestamp\[(\w+)(?:, tz=(.+))?\]", dtype)
    if stamp:
        return pyarrow.timestamp(stamp[1], tz=stamp[2])
    decimal = re.fullmatch(r"(decimal\d+)\((\d+), (-?\d+)\)", dtype)
    if decimal:
        return getattr(pyarrow, decimal[1])(int(decimal[2]), int(decimal[3]))
    return pyarrow.type_for_alias({"halffloat": "float16"}.get(dtype, dtype))


def _unit(dtype: str) -> float:
    """The seconds of the unit of a type of dates."""
    if dtype.startswith("date"):
        return 86400.0
    unit = re.match(r"timestamp\[(\w+)", dtype)
    return _SECONDS.get(unit[1], 1e-6) if unit else 1e-6


def _is_text(dtype: str) -> bool:
    """Whether the cells of a type are texts, among which a new one can be written."""
    return dtype in (TEXT, "", "object") or "string" in dtype
