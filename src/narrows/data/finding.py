"""The reader of a name, a path, a frame or arrays, and a call of it with checked options."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from narrows.core.check import RequestError, UnknownNameError, UnknownOptionError, nearest
from narrows.core.spec import Kind
from narrows.data.dataset import Dataset, Source
from narrows.data.named.registry import SYNTHETIC, expand, find, names, why_not
from narrows.data.raw import Raw
from narrows.data.readers.frames import is_frame

__all__ = ["COMMON", "Reader", "call_reader", "find_reader", "is_name"]

Reader = Callable[..., "Raw | Source | Dataset"]
"""A function that reads data: arrays to be split and scaled (`Raw`), or a complete `Source`.

A parameter `kind`, whose annotation lists the supported kinds, selects the kind that a method needs. With a
parameter `like`, the description of training data, all examples of other data become one data set.
"""
ARRAYS = "arrays in memory"
COMMON = ("scale", "split", "limit", "missing", "scaling", "target_scaling", "domain", "spec")
"""Options that all data have."""


def find_reader(what: Any, kinds: Sequence[Kind] = (), steps: bool = False) -> tuple[str, str, Reader]:
    """The short name, the key to open it again, and the reader, by kinds; `steps` if it has those of series."""
    if isinstance(what, Path) or (isinstance(what, str) and not is_name(what)):
        if what == ARRAYS:
            raise RequestError(
                "These data were arrays in memory, which are not saved. Pass the arrays again."
            )
        path = Path(what).expanduser()
        return (
            path.stem,
            str(path.resolve()),
            _bound(import_module("narrows.data.readers.formats").reader_of(path, kinds), path),
        )
    if isinstance(what, str):
        if what in SYNTHETIC:
            return what, what, _synthetic(what)
        row = expand(what)
        if not row.reader or row.parts:
            raise RequestError(
                f"`{what}` cannot be read as arrays: {why_not(row)}. "
                f"Its files: {', '.join(f.path for f in row.files[:2])}."
            )
        module, _, function = row.reader.partition(":")
        return (
            what,
            what,
            _bound(getattr(import_module(f"narrows.data.named.{module}"), function), row),
        )
    if steps:
        memory = import_module("narrows.data.readers.series").series_in_memory
        return "frame" if is_frame(what) else "arrays", ARRAYS, _bound(memory, what)
    if is_frame(what):
        return "frame", ARRAYS, _bound(import_module("narrows.data.readers.tables").read_table, what)
    return "arrays", ARRAYS, _bound(import_module("narrows.data.readers.arrays").from_memory, what)


def _synthetic(name: str) -> Reader:
    """The generator of a synthetic data set: the function and module of the same name."""
    called = name.replace("-", "_")
    found: Reader = getattr(import_module(f"narrows.data.synthetic.{called}"), called)
    return found


def is_name(what: str) -> bool:
    """Whether a text is the name of a data set, not a path."""
    if what in SYNTHETIC or find(what) is not None:
        return True
    if what == ARRAYS or any(c in what for c in "/\\.") or Path(what).exists():
        return False
    raise UnknownNameError(
        f"There is no data set, file or folder `{what}`. {nearest(what, names())} See: narrows data list"
    )


def _bound(reader: Reader, first: Any) -> Reader:
    """The reader with its first argument bound, and the signature of the others."""

    def bound(**options: Any) -> Raw | Source | Dataset:
        return reader(first, **options)

    parameters = list(inspect.signature(reader).parameters.values())[1:]
    bound.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return bound


def call_reader(reader: Reader, name: str, options: Mapping[str, Any]) -> Raw | Source | Dataset:
    """Call a reader.

    Raises:
        UnknownOptionError: an option that it does not have; the message names the nearest.
    """
    known = list(inspect.signature(reader).parameters)
    for option in options:
        if option not in known:
            takes = {*known, *COMMON} - {"scaling", "target_scaling", "spec", "like", "kind", "parts"}
            raise UnknownOptionError(
                f"The data `{name}` have no option ``{option}``. {nearest(option, takes, '``')}"
            )
    return reader(**options)
