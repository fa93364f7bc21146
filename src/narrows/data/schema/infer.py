"""The type of a column, from its cells or as it is declared, and the reason."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from narrows.core import Column, Spec
from narrows.core.check import RequestError
from narrows.data.schema.dates import text_of
from narrows.data.schema.declared import KINDS, Declared
from narrows.data.schema.typed import TEXT, Typed, as_dates, as_numbers, as_texts

__all__ = ["Found", "infer"]

_LEVELS = 1000
"""A text column with more levels than this is names or free text, not a category."""
_RARE, _LARGE = 10, 1000
"""In tables of at least `_LARGE` rows, levels with fewer than `_RARE` rows are joined."""
_IDS = 20
"""Texts that all differ are an id from this many rows on; integers if they are consecutive, or with 100 rows."""
_FINEST = 1e-4
"""The smallest resolution in units of a column's standard deviation."""
_MARKERS = ("?", "na", "n/a", "none", "null", "-", ".", "unknown", "missing")
"""Levels that often mean a missing cell."""
_OTHER = "other"


@dataclass(frozen=True)
class Found:
    """The type of a column.

    Args:
        kind: one of `KINDS`, or ``none`` or ``constant``.
        reason: why.
        spec: the column as a model reads it; None if it is left out.
    """

    kind: str
    reason: str
    spec: Spec | None = None


def infer(cells: Typed, name: str, table: str, declared: Declared | None = None, keep: bool = False) -> Found:
    """The type of a column.

    Args:
        cells: the cells of the column.
        name: name of the column, for messages.
        table: name of the table, for messages.
        declared: its declared type, if there is one.
        keep: whether a column that says nothing is refused or kept, not left out: the user has named it.

    Raises:
        RequestError: cells that the type cannot hold, too many levels, or nothing in a column that is to be kept.

    Example:
        >>> from narrows.data.schema.typed import typed
        >>> found = infer(typed(["3", "4", "3"], np.zeros(3, bool)), "age", "people")
        >>> found.kind, found.spec.column.resolution
        ('integer', 1.0)
    """
    where = f"Column `{name}` of {table}"
    if declared is not None and declared.kind in ("id", "text"):
        return Found(declared.kind, "declared")
    if cells.type == "none":
        if keep or declared is not None:
            raise RequestError(
                f"All cells of column `{name}` of {table} are missing. Leave it out: ``columns``."
            )
        return Found("none", "all cells are missing")
    if cells.type == "other":
        if keep or declared is not None:
            raise RequestError(
                f"{where} has cells of the type {cells.dtype}, which no model reads. Leave it out."
            )
        return Found("text", f"cells of the type {cells.dtype} are not read")
    found = _declared(cells, where, name, declared) if declared else _inferred(cells, where, name, keep)
    if found.spec is None or keep or declared is not None or len(np.unique(cells.seen)) > 1:
        return found
    text = text_of(cells.seen[0], cells.form) if cells.form else as_texts(cells)[~cells.missing][0]
    return Found("constant", f"one value: {text}")


def _inferred(cells: Typed, where: str, name: str, keep: bool) -> Found:
    """The type of a column by its cells."""
    seen, rows = cells.seen, len(cells.values)
    if cells.type == "truth":
        return _binary(cells, where, "true and false")
    if cells.type == "date":
        return _number(cells, "datetime", f"dates, {cells.form}" if cells.form else "dates")
    if cells.type == "number":
        _check_finite(cells, where)
        if set(np.unique(seen).tolist()) == {0.0, 1.0}:
            return _binary(cells, where, "0 and 1")
        whole = bool((seen == np.rint(seen)).all())
        if (
            whole
            and not keep
            and "int" in (cells.dtype if cells.dtype != TEXT else "int")
            and _is_id(seen, rows)
        ):
            return Found("id", "a different whole number in every row")
        return _number(cells, "integer" if whole else "real", "whole numbers" if whole else "numbers")
    if cells.odd[0] and len(set(seen.tolist())) > _IDS:
        what, text = cells.odd
        row = int(np.flatnonzero(cells.values == text)[0])
        kind = "real" if what == "numbers" else "datetime"
        raise RequestError(
            f"{where} has {what}, but {text!r} in row {row}. Correct it, mark it as missing "
            f"(``missing_values={text!r}``), or declare what the column is, such as ``types={name}=categorical`` "
            f"(``{name}={kind}`` if it is to be one, ``{name}=id`` to leave it out)."
        )
    if cells.ordered:
        return _ordinal(cells, where, name, cells.levels, "an ordered dictionary")
    return _texts(cells, where, name, keep)


def _texts(cells: Typed, where: str, name: str, keep: bool) -> Found:
    """The type of a column of text."""
    seen, rows = cells.seen, len(cells.values)
    different = len(set(seen.tolist()))
    what = "integers too large for exact arithmetic" if cells.big else "text"
    if not keep and different == rows >= _IDS:
        return Found("id", f"a different {'whole number' if cells.big else 'text'} in every row")
    if different > _LEVELS:
        raise RequestError(
            f"{where} has {different} different texts, but a category has at most {_LEVELS}. Leave it out "
            f"(``types={name}=id``), keep its frequent levels (``types={name}=categorical`` joins those of fewer than "
            f"{_RARE} rows), or make numbers of it. ``columns`` names the columns to use."
        )
    if not keep and different > max(_IDS, rows // 2):
        return Found("text", f"{different} different texts in {rows} rows")
    return _categories(cells, where, what)


def _declared(cells: Typed, where: str, name: str, declared: Declared) -> Found:
    """The type of a column as it is declared."""
    kind, reason = declared.kind, "declared"
    if kind == "categorical":
        return _categories(cells, where, reason)
    if kind == "ordinal":
        return _ordinal(cells, where, name, declared.levels, reason)
    if kind == "binary":
        return _binary(cells, where, reason)
    found = as_dates(cells, declared.form) if kind == "datetime" else as_numbers(cells)
    if isinstance(found, str):
        row = int(np.flatnonzero(cells.values == found)[0])
        form = f" in the format {declared.form}" if declared.form else ""
        what = f"a date{form}" if kind == "datetime" else "a number"
        raise RequestError(
            f"{where} is declared {kind}, but {found!r} in row {row} is not {what}. Correct it, or mark it as missing: "
            f"``missing_values={found!r}``."
        )
    _check_finite(found, where)
    seen = found.values
    bad = np.zeros(len(seen), bool)
    if kind in ("count", "positive"):
        bad |= seen < 0
    if kind in ("count", "integer"):
        bad |= (seen != np.rint(seen)) & ~np.isnan(seen)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        takes = {"count": "whole numbers from 0", "integer": "whole numbers", "positive": "numbers from 0"}[
            kind
        ]
        raise RequestError(f"{where} is declared {kind}: {takes}, but it has {seen[row]:g} in row {row}.")
    return _number(found, kind, reason)


def _number(cells: Typed, kind: str, reason: str) -> Found:
    """A column of numbers."""
    values = np.unique(cells.seen)
    gaps = np.diff(values)
    gap = float(gaps[gaps > 0].min()) if (gaps > 0).any() else 1.0
    resolution = max(gap, _FINEST * float(cells.seen.std()))
    column = Column(
        cells.dtype, resolution, float(values[0]), float(values[-1]), form=cells.form, reason=reason
    )
    made: Any = KINDS[kind]
    return Found(kind, reason, Spec((), made, column=column))


def _binary(cells: Typed, where: str, reason: str) -> Found:
    """A column of two values."""
    if cells.type in ("number", "truth") and set(np.unique(cells.seen).tolist()) <= {0.0, 1.0}:
        form = "bool" if cells.type == "truth" and cells.dtype == TEXT else ""
        return Found(
            "binary", reason, Spec((), "binary", column=Column(cells.dtype, form=form, reason=reason))
        )
    levels = tuple(sorted(set(as_texts(cells).tolist()) - {""}))
    if len(levels) != 2:
        raise RequestError(
            f"{where} is declared binary, but it has {len(levels)} values: {', '.join(levels[:4])}."
        )
    column = Column(cells.dtype, reason=reason)
    return Found("binary", reason, Spec((), "binary", vocabulary=levels, column=column))


def _categories(cells: Typed, where: str, reason: str) -> Found:
    """A column of categories; rare levels of large tables are joined."""
    texts = as_texts(cells)
    votes = Counter(texts.tolist())
    votes.pop("", None)
    levels = sorted(votes) if not cells.levels else list(cells.levels)
    rare = {level for level, count in votes.items() if count < _RARE} if len(texts) >= _LARGE else set()
    if rare:
        joined = sum(votes[level] for level in rare)
        levels = [level for level in levels if level not in rare and level != _OTHER] + [_OTHER]
        reason += f"; {len(rare)} levels with {joined} rows are joined to `{_OTHER}`"
    if len(levels) > _LEVELS:
        raise RequestError(
            f"{where} has {len(levels)} levels, but a category has at most {_LEVELS}. Leave it out."
        )
    if len(levels) == 1 and rare:
        return Found("text", f"no level has {_RARE} rows")
    marker = next((level for level in levels if level.lower() in _MARKERS), None)
    if marker is not None:
        reason += f"; is `{marker}` missing? --missing-values {marker}"
    column = Column(cells.dtype, other=bool(rare), reason=reason)
    spec = Spec((), "categories", classes=len(levels), vocabulary=tuple(levels), column=column)
    return Found("categorical", reason, spec)


def _ordinal(cells: Typed, where: str, name: str, levels: tuple[str, ...], reason: str) -> Found:
    """A column of ordered levels."""
    texts = as_texts(cells)
    seen = set(texts.tolist()) - {""}
    if not levels:
        if cells.type != "number":
            some = "<".join(sorted(seen)[:3])
            raise RequestError(
                f"{where} is declared ordinal: name its levels from the lowest, as in ``types={name}=ordinal:{some}``."
            )
        levels = tuple(sorted(seen, key=float))
    unknown = seen - set(levels)
    if unknown:
        text = min(unknown)
        row = int(np.flatnonzero(texts == text)[0])
        raise RequestError(
            f"{where} has {text!r} in row {row}, which is none of its levels: {' < '.join(levels)}."
        )
    if len(levels) > max(2, len(texts)) or len(levels) > _LEVELS:
        raise RequestError(
            f"{where} has {len(levels)} levels, more than its {len(texts)} rows. Leave it out (``types={name}=id``) or "
            f"read it as numbers (``types={name}=integer``)."
        )
    column = Column(cells.dtype, reason=reason)
    spec = Spec((), "ordinal", classes=len(levels), vocabulary=tuple(levels), column=column)
    return Found("ordinal", reason, spec)


def _is_id(seen: np.ndarray, rows: int) -> bool:
    """Whether whole numbers name rows: all differ, and there are many of them, or they are consecutive."""
    if len(seen) < max(rows, _IDS) or len(np.unique(seen)) < rows:
        return False
    return rows >= 5 * _IDS or float(seen.max() - seen.min()) == rows - 1


def _check_finite(cells: Typed, where: str) -> None:
    """Refuse infinite numbers, and those that float32 does not have."""
    bad = np.flatnonzero(np.abs(cells.values) > np.finfo(np.float32).max)
    if len(bad):
        raise RequestError(
            f"{where} is {cells.values[bad[0]]:g} in row {bad[0]}: infinite or too large. Correct or empty that cell."
        )
