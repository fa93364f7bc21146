"""The types of columns that the user declares: ``age=real,grade=ordinal:low<mid<high,day=datetime:%d.%m.%Y``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from narrows.core.check import RequestError, nearest, refuse

__all__ = ["KINDS", "Declared", "Types", "declared_types"]

Types: TypeAlias = str | Sequence[str] | Mapping[str, str] | None
"""A text, its parts, or kinds by column."""

KINDS: Mapping[str, str] = {
    "binary": "binary",
    "categorical": "categories",
    "ordinal": "ordinal",
    "integer": "integer",
    "count": "counts",
    "real": "real",
    "positive": "positive",
    "datetime": "datetime",
    "id": "",
    "text": "",
}
"""The kinds of columns, and the `Spec.values` of each; columns of the last two are left out."""


@dataclass(frozen=True)
class Declared:
    """The declared type of a column.

    Args:
        kind: one of `KINDS`.
        levels: of an ordinal column, its levels from the lowest.
        form: of dates, their format, such as ``%d.%m.%Y``.
    """

    kind: str
    levels: tuple[str, ...] = ()
    form: str = ""


def declared_types(
    types: Types, columns: Iterable[str], categories: Iterable[str] = ()
) -> dict[str, Declared]:
    """The declared types by column.

    Args:
        types: what the user gave.
        columns: the columns of the table.
        categories: further columns that are categorical.

    Raises:
        RequestError: an unknown column or kind, or options that a kind does not have.

    Example:
        >>> declared_types("grade=ordinal:low<high,zip=categorical", ["zip", "grade"])["grade"]
        Declared(kind='ordinal', levels=('low', 'high'), form='')
    """
    names = list(columns)
    if isinstance(types, Mapping):
        pairs = list(types.items())
    else:
        pieces = types.split(",") if isinstance(types, str) else list(types or ())
        pairs = [_pair(piece) for piece in pieces if piece.strip()]
    found = {name.strip(): _declared(name.strip(), text.strip()) for name, text in pairs}
    for argument, given in (("types", found), ("categories", dict.fromkeys(categories))):
        for name in given:
            if name not in names:
                raise refuse(argument, name, "columns of the table", nearest(name, names))
    return {**{name: Declared("categorical") for name in categories}, **found}


def _pair(piece: str) -> tuple[str, str]:
    name, equals, text = piece.partition("=")
    if not equals:
        raise refuse("types", piece, "column=kind, such as age=real")
    return name, text


def _declared(name: str, text: str) -> Declared:
    kind, _, rest = text.partition(":")
    if kind not in KINDS:
        raise refuse("types", f"{name}={text}", "one of " + ", ".join(KINDS), nearest(kind, KINDS))
    if not rest:
        return Declared(kind)
    if kind == "datetime":
        return Declared(kind, form=rest)
    if kind != "ordinal":
        raise refuse("types", f"{name}={text}", f"{name}={kind}: only ordinal and datetime have options")
    levels = tuple(level.strip() for level in rest.split("<"))
    if len(set(levels)) < max(len(levels), 2) or "" in levels:
        raise RequestError(
            f"``types={name}={text}``: name two or more different levels from the lowest, such as "
            f"{name}=ordinal:low<mid<high."
        )
    return Declared(kind, levels=levels)
