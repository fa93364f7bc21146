"""The table of methods: names, papers and claims. It does not import torch, so that `narrows list` is fast.

Each family's folder holds its rows. A row names the builder's module; a test compares the table with the
files. The id is the number of the paper in a catalogue of published systems; methods older than it have none.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from narrows.core.check import RequestError, UnknownNameError, nearest
from narrows.methods import (
    conditional,
    masked,
    multimodal,
    quantised,
    regularised,
    sparse,
    structured,
    tabular,
    variational,
)
from narrows.methods.row import Method
from narrows.methods.techniques import FAMILY, PRIOR, TECHNIQUES, Technique

if TYPE_CHECKING:
    from collections.abc import Callable

    from narrows.core import Autoencoder

__all__ = ["METHODS", "Method", "builder", "entries", "entry", "families", "find", "in_family"]

_ROWS = tuple(
    row
    for family in (
        regularised,
        variational,
        conditional,
        multimodal,
        quantised,
        sparse,
        masked,
        structured,
        tabular,
    )
    for row in family.ROWS
)

METHODS: dict[str, Method] = {row.name: row for row in _ROWS}


def find(name: str) -> Method:
    """The row of a method.

    Raises:
        UnknownNameError: there is no such method; the message names the nearest one.
        RequestError: it is a technique, which is not fitted.

    Example:
        >>> find("vae").year
        2014
    """
    if name in TECHNIQUES:
        raise RequestError(
            f"`{name}` is not a method to fit: it examines or uses trained models. Use it with: {TECHNIQUES[name].verb}"
        )
    if name not in METHODS:
        raise UnknownNameError(f"There is no method `{name}`. {nearest(name, METHODS)} See: narrows list")
    return METHODS[name]


def builder(name: str) -> Callable[..., Autoencoder]:
    """Import the builder function of a method (this imports torch), for all kinds of data that its row names."""
    row = find(name)
    function: Callable[..., Autoencoder] = getattr(
        import_module(f"narrows.methods.{row.module}"), row.function
    )
    if row.becomes_tabular:
        tables = import_module("narrows.methods.tabular._mixed")
        function = tables.reading_tables(function)
    if {"array", "series"} <= {*row.reads}:
        function = import_module("narrows.methods.structured._windows").reading_series(function)
    return function


def families() -> list[str]:
    """The families that have a method, in the order of the table."""
    return list(dict.fromkeys(row.family for row in _ROWS))


def in_family(family: str | None = None) -> list[Method]:
    """The methods of a family, or all."""
    if family is not None and family not in families():
        raise RequestError(f"There is no family `{family}`. {nearest(family, families())}")
    return [row for row in _ROWS if family in (None, row.family)]


def entry(name: str) -> Method | Technique:
    """The row of a method or a technique.

    Raises:
        UnknownNameError: there is neither; the message names the nearest one.
    """
    if name in TECHNIQUES:
        return TECHNIQUES[name]
    if name not in METHODS:
        close = nearest(name, [*METHODS, *TECHNIQUES])
        raise UnknownNameError(f"There is no method `{name}`. {close} See: narrows list")
    return METHODS[name]


def entries(family: str | None = None) -> list[Method | Technique]:
    """The methods and techniques of a family, or all.

    Raises:
        RequestError: there is no such family; the message names the nearest one.
    """
    known = [*families(), PRIOR, FAMILY]
    if family is not None and family not in known:
        raise RequestError(f"There is no family `{family}`. {nearest(family, known)}")
    return [row for row in (*_ROWS, *TECHNIQUES.values()) if family in (None, row.family)]
