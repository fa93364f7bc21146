"""The columns of a table as a model reads them, one row each: type, likelihood, levels or range, and why."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
from torch import Tensor

from narrows.core import Likelihood, Spec
from narrows.core.columns import LEVELS
from narrows.core.progress import Silent
from narrows.core.texts import text_table
from narrows.data import Source
from narrows.data.holes import HIDDEN
from narrows.data.schema.declared import KINDS
from narrows.data.schema.written import written
from narrows.data.sparse_rows import SparseRows
from narrows.likelihoods.table import MixedTable

__all__ = ["column_lines", "column_table", "say_columns"]

_MOST = 60
"""The largest number of columns that are printed."""
_SHOWN = 3
"""The number of levels that are printed."""


def say_columns(source: Source, likelihood: Likelihood, shown: Silent) -> None:
    """Print the columns of a table with named columns, which counts are all 0, and which series are left out."""
    if source.spec.kind == "series":
        for what, why in source.left_out.items():
            shown.say(f"Left out: {what}, {why}.")
    if source.spec.values == "counts" and (zero := _zero(source)):
        some = ", ".join(map(str, zero[:_SHOWN])) + (", ..." if len(zero) > _SHOWN else "")
        shown.say(
            f"{len(zero)} of {source.spec.shape[0]} columns of counts are 0 in all training rows (from 0: {some}). "
            "The model expects almost none there."
        )
    if isinstance(likelihood, MixedTable) and source.how.get("columns"):
        for line in column_lines(column_table(source, likelihood)):
            shown.say(line)


def column_table(source: Source, likelihood: MixedTable | None = None) -> list[dict[str, str]]:
    """The columns of a table, then those that are left out.

    Args:
        source: the table.
        likelihood: that of the model; if None, the default one.
    """
    likelihood = MixedTable(source.spec) if likelihood is None else likelihood
    heads = {i: head.title for head, places in likelihood.by_head() for i in places}
    absent = _missing(source)
    rows = [
        {
            "column": name,
            "type": next((kind for kind, values in KINDS.items() if values == part.values), part.values),
            "likelihood": heads[index],
            "values": _values(part),
            "missing": f"{100 * share:.3g} %" if share else "",
            "why": "" if part.column is None else part.column.reason,
        }
        for index, ((name, part), share) in enumerate(zip(source.spec.parts.items(), absent, strict=True))
    ]
    for name, why in source.left_out.items():
        kind, _, reason = why.partition(": ")
        rows.append(
            {
                "column": name,
                "type": kind,
                "likelihood": "left out",
                "values": "",
                "missing": "",
                "why": reason,
            }
        )
    return rows


def column_lines(rows: list[dict[str, str]]) -> list[str]:
    """The table of columns as lines of text."""
    lines = text_table(rows[:_MOST]).splitlines()
    return lines if len(rows) <= _MOST else [*lines, f"and {len(rows) - _MOST} more columns"]


def _zero(source: Source) -> list[int]:
    """The columns of counts that are 0 in all training rows."""
    x, width = source.train.x, source.spec.shape[0]
    if isinstance(x, SparseRows):
        seen = np.bincount(x.columns[x.values > 0], minlength=width)
    else:
        seen = np.asarray(source.train.all().x.reshape(len(source.train), width).sum(0))
    return [int(column) for column in np.flatnonzero(seen == 0)]


def _missing(source: Source) -> list[float]:
    """The share of missing cells of each column, before any were hidden."""
    stores = [part.columns.get(HIDDEN, part.x) for part in (source.train, source.test)]
    gone = [store.isnan().double().sum(0) for store in stores if isinstance(store, Tensor)]
    rows = len(source.train) + len(source.test)
    return [float(count) / rows for count in sum(gone[1:], gone[0])]


def _values(part: Spec) -> str:
    """The levels or the range of a column."""
    if part.vocabulary:
        levels = part.vocabulary
        mark = " < " if part.values == "ordinal" else ", "
        shown = mark.join(levels[:_SHOWN])
        return shown if len(levels) <= _SHOWN else f"{shown} ... ({len(levels)})"
    if part.column is None or part.values in (*LEVELS, "binary"):
        return ""
    ends = written(np.array([part.column.low, part.column.high]), part)
    low, high = (_text(value, part.column.dtype) for value in ends)
    return f"{low} to {high}"


def _text(value: object, dtype: str) -> str:
    if isinstance(value, np.datetime64):
        return _moment(value.astype("datetime64[us]").item(), dtype)
    return f"{value:g}" if isinstance(value, float) and abs(value) < 1e5 else str(value).removesuffix(".0")


def _moment(moment: datetime, dtype: str) -> str:
    """A moment in UTC as a date, or in the time zone of its column."""
    if dtype.startswith("date"):
        return moment.date().isoformat()
    if zone := re.search(r"tz=([^\]]+)", dtype):
        moment = moment.replace(tzinfo=UTC)
        with suppress(ZoneInfoNotFoundError, ValueError):  # an offset, or no table of time zones
            moment = moment.astimezone(ZoneInfo(zone[1]))
    return moment.isoformat(" ", "auto" if moment.second or moment.microsecond else "minutes")
