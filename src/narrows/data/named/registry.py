"""The named data sets and synthetic sets: names, licences, checksums. Needs no torch.

The table is `sets.toml` in this folder; a test compares it with the readers in `narrows.data.named.reading`.
"""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

from narrows.core.check import UnknownNameError, nearest

__all__ = ["SYNTHETIC", "File", "Set", "expand", "find", "info", "names", "sets"]

SYNTHETIC: dict[str, str] = {
    "sprites": "Drawn shapes with known factors: shape, scale, rotation, x, y and colour",
    "textures": "Colour textures with known power spectrum and palettes",
    "dictionary": "Sparse combinations of known atoms, with chosen L0, correlation and noise",
    "hierarchy": "Sparse combinations of parents and children that come only with them, or independently: absorption",
    "linear": "Linear-Gaussian data with known exact likelihood",
    "densities2d": "Points of the plane from eight Gaussians, a pinwheel or a spiral, with exact density and score",
    "manifold": "Points on a curved manifold of known dimension in a space of any dimension, with outliers",
    "addresses": "Addresses whose state, city and zip prefix obey hard rules, with exact probabilities",
    "shifts": "A pattern under two cyclic shifts, which form a torus",
    "cells": "Counts of cells of several types, in batches, with known means",
    "branching": "Noisy observations of the nodes of a tree that branches by diffusion, with known exact likelihood",
    "tree": "A hierarchical mixture of Gaussians, whose branches at each level are known, with exact likelihood",
    "gaussian-views": "Several views of one Gaussian code, with exact joint, subset and conditional likelihood",
    "sines": "Sequences of sinusoids with random frequency and phase",
    "grf": "Gaussian random fields with known eigenfunctions and eigenvalues, at any resolution",
    "sbm": "A graph of a stochastic block model: communities that are known, and data of the nodes",
    "lds": "Series of a linear dynamical system, with holes and irregular times, with known exact likelihood",
    "grammar": "Texts of a small grammar, with known exact probability",
    "tones": "Sounds of chords with harmonics and bursts of noise, which are known factors",
    "markov-codes": "Grids of tokens from a Potts field of known entropy, a lower bound of the bits of any prior",
}

_LATER = {
    "text": "a language model's activations are harvested from text, which a later release does",
    "language model": "it is a model to harvest activations from, which a later release does",
    "molecules": "molecule autoencoders come with a later release",
    "photographs": "open the folder as a path, with ``size``",
}


class File(NamedTuple):
    """A file of a set: its path below the data folder, and the checksum of its content."""

    path: str
    sha256: str
    url: str = ""


class Set(NamedTuple):
    """A named data set: description, source and reader."""

    name: str
    title: str
    kind: str
    content: str
    licence: str
    source: str
    shape: tuple[int, ...] = ()
    reader: str = ""
    note: str = ""
    part: str = ""
    parts: tuple[str, ...] = ()
    files: tuple[File, ...] = ()
    downloads: tuple[File, ...] = ()


@cache
def sets() -> dict[str, Set]:
    """The table: name to `Set`.

    Example:
        >>> sets()["mnist"].licence
        'data CC BY-SA 3.0 (LeCun, Cortes, Burges); repo MIT'
    """
    table = tomllib.loads(files("narrows.data.named").joinpath("sets.toml").read_text("utf-8"))
    return {name: _row(name, entry) for name, entry in table.items()}


def _row(name: str, entry: dict[str, Any]) -> Set:
    listed: dict[str, Any] = {
        "shape": tuple(entry.pop("shape", ())),
        "parts": tuple(entry.pop("parts", ())),
        "files": tuple(File(path, sha256) for path, sha256 in entry.pop("files", ())),
        "downloads": tuple(File(path, sha256, url) for url, path, sha256 in entry.pop("downloads", ())),
    }
    return Set(name, **entry, **listed)


def names() -> list[str]:
    """Every name that `open` or `get` takes: the synthetic sets, then the sets (a collection once a part).

    Example:
        >>> {"mnist", "sprites", "adbench-wine"} <= set(names())
        True
    """
    listed = [*SYNTHETIC]
    for row in sets().values():
        listed += [f"{row.name}-{part.lower()}" for part in row.parts] or [row.name]
    return listed


def find(name: str) -> Set | None:
    """The row of a set, of a part of a collection (`adbench-wine`), or None."""
    if name in sets():
        return sets()[name]
    for row in sets().values():
        for part in row.parts:
            if name == f"{row.name}-{part.lower()}":
                return row._replace(name=name, title=f"{row.title}: {part}", part=part, parts=())
    return None


def expand(name: str) -> Set:
    """The row of a set that exists.

    Raises:
        UnknownNameError: no such set; the text names the nearest.
    """
    row = find(name)
    if row is None:
        raise UnknownNameError(
            f"There is no data set `{name}`. {nearest(name, names())} See: narrows data list"
        )
    return row


def info(name: str) -> dict[str, Any]:
    """The description of a data set: title, kind, shape of an example, licence, source, files, JSON-able.

    Example:
        >>> info("mnist")["shape"], info("zinc")["opens"]
        ([1, 28, 28], False)
    """
    if name in SYNTHETIC:
        made = {"licence": "none needed", "source": "generated by narrows", "opens": True, "files": []}
        return {"name": name, "title": SYNTHETIC[name], "kind": "synthetic set", **made}
    row = expand(name)
    facts: dict[str, Any] = {
        key: getattr(row, key) for key in ("name", "title", "kind", "content", "licence", "source", "note")
    }
    facts["shape"] = list(row.shape)
    facts["files"] = [file.path for file in row.files]
    facts["sha256"] = {file.path: file.sha256 for file in row.files}
    facts["downloads"] = [file.url for file in row.downloads]
    facts["parts"] = [f"{row.name}-{part.lower()}" for part in row.parts]
    facts["opens"] = bool(row.reader) and not row.parts
    return facts


def why_not(row: Set) -> str:
    """Why `open` does not read a set that is listed, and what to do."""
    if row.parts:
        return f"it is a collection: open one of its parts, such as `{row.name}-{row.parts[0].lower()}`"
    return _LATER.get(row.kind, f"no method of this release reads data of the kind `{row.kind}`")
