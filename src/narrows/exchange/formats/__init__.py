"""The formats of other libraries, a file each, and the table of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from narrows.core.check import RequestError, refuse
from narrows.exchange.format import Format
from narrows.exchange.formats.circuit_tracer import CircuitTracer
from narrows.exchange.formats.dictionary_learning import DictionaryLearning
from narrows.exchange.formats.gemma_scope import GemmaScope, GemmaScope2
from narrows.exchange.formats.llama_scope import LlamaScope
from narrows.exchange.formats.llamascopium import Llamascopium
from narrows.exchange.formats.openai import OpenAI
from narrows.exchange.formats.saelens import SAELens
from narrows.exchange.formats.sparsify import Sparsify

__all__ = ["FORMATS", "find", "recognise"]

FORMATS: Mapping[str, Format] = {
    one.name: one
    for one in (
        Llamascopium(),  # before SAELens, which has a file of the same name
        SAELens(),
        Sparsify(),
        DictionaryLearning(),
        GemmaScope2(),
        LlamaScope(),
        CircuitTracer(),
        GemmaScope(),
        OpenAI(),
    )
}
"""The formats by name, in the order in which they are tried."""


def recognise(path: Path) -> Format | None:
    """The format of a folder or file, or None."""
    return next((one for one in FORMATS.values() if one.recognises(path)), None)


def find(name: str) -> Format:
    """A format by name.

    Raises:
        RequestError: there is no such format.
    """
    if name not in FORMATS:
        raise refuse("to", name, "one of " + ", ".join(f"`{one}`" for one in ("narrows", *FORMATS)))
    return FORMATS[name]


def unknown(path: Path) -> RequestError:
    """The error for a path of no known format."""
    known = "; ".join(f"{one.name} ({one.title})" for one in FORMATS.values())
    return RequestError(f"{path} is neither a run nor a dictionary of a known format. Known: {known}.")
