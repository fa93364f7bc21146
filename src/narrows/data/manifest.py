"""The manifest of a harvest folder: what was harvested from which model, and what each shard must be like."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from narrows.check import RequestError
from narrows.data.tensorfile import dtype_named

__all__ = [
    "FORMAT",
    "MANIFEST",
    "VERSION",
    "Layer",
    "Manifest",
    "Shard",
    "difference",
    "layers_of",
    "shard_of",
]

FORMAT, VERSION = "narrows-harvest", 1
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Layer:
    """One captured place: the shape of a row there, and the type in which it is stored."""

    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Shard:
    """One unit of work on the disk.

    Args:
        unit: which.
        file: its name inside the folder.
        rows: how many rows (kept tokens) every layer has.
        contexts: from how many contexts.
        bytes: the size of the file.
        sha256: its checksum.
    """

    unit: int
    file: str
    rows: int
    contexts: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """A harvest folder as its `manifest.json` describes it.

    Args:
        folder: the folder.
        header: what was harvested: `model`, `layers`, `contexts`, `text` and whatever else the harvest notes.
        units: into how many units of work it was divided.
        shards: those that are on the disk, in the order of their units.
        layers: per layer `count`, `mean_norm` and `mean_square`; the means themselves are in `means.safetensors`.
        complete: whether no unit is missing.
        live: whether there are no shards because rows are computed when they are read.
    """

    folder: Path
    header: Mapping[str, Any]
    units: int
    shards: tuple[Shard, ...] = ()
    layers: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    complete: bool = False
    live: bool = False

    @property
    def model(self) -> str:
        """The name of the model whose activations these are."""
        return str(self.header["model"].get("name", "a model"))

    @property
    def shapes(self) -> dict[str, Layer]:
        """The layers, and what a row of each is."""
        return layers_of(self.header)

    def to_json(self) -> dict[str, Any]:
        """What `manifest.json` holds."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "header": dict(self.header),
            "units": self.units,
            "complete": self.complete,
            "live": self.live,
            "layers": {name: dict(facts) for name, facts in self.layers.items()},
            "shards": [vars(shard) for shard in self.shards],
        }

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read and check the manifest of a folder.

        Raises:
            RequestError: there is none, or it is damaged or of a newer version.
        """
        path = folder / MANIFEST
        try:
            form = json.loads(path.read_text(encoding="utf-8"))
            if form["format"] != FORMAT:
                raise ValueError(f"its format is {form['format']!r}, not {FORMAT!r}")
            if form["version"] != VERSION:
                raise ValueError(
                    f"its version is {form['version']!r}, and this program reads version {VERSION}"
                )
            layers_of(form["header"])
            shards = tuple(shard_of(row) for row in form["shards"])
            if [s.unit for s in shards] != sorted({s.unit for s in shards}):
                raise ValueError("its shards are not in order")
            if form["complete"] and not form["live"] and len(shards) != form["units"]:
                raise ValueError(
                    f"it says that it is complete, but names {len(shards)} of {form['units']} shards"
                )
            return cls(
                folder,
                form["header"],
                int(form["units"]),
                shards,
                form["layers"],
                bool(form["complete"]),
                bool(form["live"]),
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise RequestError(
                f"{path} is no sound manifest of a harvest ({_reason(error)}). Run the same harvest command again: it "
                "writes the manifest anew and fills in only what is missing."
            ) from error


def layers_of(header: Mapping[str, Any]) -> dict[str, Layer]:
    """The layers of a header.

    Raises:
        ValueError: it is not what a header must be.
    """
    for key in ("model", "layers", "contexts", "text"):
        if not isinstance(header.get(key), Mapping):
            raise ValueError(f"its header lacks {key!r}")
    layers = {}
    for name, row in header["layers"].items():
        shape = tuple(row["shape"])
        if not shape or not all(type(n) is int and n > 0 for n in shape):
            raise ValueError(f"the layer {name!r} has the shape {shape}")
        dtype_named(row["dtype"])
        layers[name] = Layer(shape, row["dtype"])
    if not layers:
        raise ValueError("its header names no layer")
    return layers


def difference(one: Any, other: Any, place: str = "") -> str:
    """Where two JSON-able values differ first, as a text; empty where they do not.

    Example:
        >>> difference({"model": {"name": "a"}}, {"model": {"name": "b"}})
        "`model.name` was 'a' and is 'b' now"
    """
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in sorted({*one, *other}):
            found = difference(one.get(key), other.get(key), f"{place}.{key}" if place else str(key))
            if found:
                return found
        return ""
    return "" if one == other else f"`{place}` was {one!r} and is {other!r} now"


def shard_of(row: Mapping[str, Any]) -> Shard:
    """A shard from its JSON form.

    Raises:
        ValueError: its numbers are odd, or its file lies outside the folder.
        TypeError: keys are missing or unknown.
    """
    shard = Shard(**row)
    numbers = (shard.unit, shard.rows, shard.contexts, shard.bytes)
    if not all(type(n) is int and n >= 0 for n in numbers):
        raise ValueError(f"the shard {shard.file!r} has odd numbers")
    if not isinstance(shard.file, str) or Path(shard.file).name != shard.file or shard.file.startswith("."):
        raise ValueError(f"the shard {shard.file!r} lies outside the folder")
    return shard


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)
