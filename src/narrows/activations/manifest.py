"""The manifest of a harvest folder: the model, the layers, the contexts, and the size and checksum of each shard."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from narrows.core.check import RequestError
from narrows.core.files import read_json, with_checksum, without_checksum
from narrows.core.tensorfile import dtype_named

__all__ = [
    "FORMAT",
    "MANIFEST",
    "VERSION",
    "Layer",
    "Manifest",
    "Shard",
    "difference",
    "layers_of",
    "sealed",
    "shard_of",
    "unsealed",
]

FORMAT, VERSION = "narrows-harvest", 2
MANIFEST = "manifest.json"
_LARGEST = 1 << 30
"""Largest size of a JSON file in bytes: the file beside a shard has a sum for every dimension of a row."""


@dataclass(frozen=True)
class Layer:
    """One captured layer: the shape of its rows, and the type in which they are stored."""

    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Shard:
    """One unit of work on disk.

    Args:
        unit: the number of the unit.
        file: the name of its file inside the folder.
        rows: the number of rows (kept tokens) of every layer.
        contexts: the number of contexts.
        bytes: the size of the file.
        sha256: the checksum of the file.
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
        header: a description of the harvest: `model`, `layers`, `contexts`, `text` and further entries.
        units: the number of units of work.
        shards: the shards on disk, in the order of their units.
        layers: per layer `count`, `mean_norm` and `mean_square`; the means themselves are in `means.safetensors`.
        complete: whether no unit is missing.
        live: whether there are no shards because rows are computed on the fly.
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
        """The layers by name."""
        return layers_of(self.header)

    def to_json(self) -> dict[str, Any]:
        """The content of `manifest.json`, its own checksum included."""
        return sealed(
            {
                "header": dict(self.header),
                "units": self.units,
                "complete": self.complete,
                "live": self.live,
                "layers": {name: dict(statistics) for name, statistics in self.layers.items()},
                "shards": [vars(shard) for shard in self.shards],
            }
        )

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read and check the manifest of a folder.

        Raises:
            RequestError: there is none, or it is damaged or of a newer version.
        """
        path = folder / MANIFEST
        try:
            form = unsealed(path)
            layers_of(form["header"])
            shards = tuple(shard_of(row) for row in form["shards"])
            if [s.unit for s in shards] != sorted({s.unit for s in shards}):
                raise ValueError("its shards are not in order")
            statistics, units, complete, live = (form[key] for key in ("layers", "units", "complete", "live"))
            if type(units) is not int or units < 0 or not isinstance(statistics, Mapping):
                raise ValueError("its number of units or its layers are malformed")
            if complete and not live and len(shards) != units:
                raise ValueError(f"it is marked as complete, but lists {len(shards)} of {units} shards")
            return cls(folder, form["header"], units, shards, statistics, bool(complete), bool(live))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, RequestError):
                raise
            raise RequestError(
                f"{path} is not a valid manifest of a harvest ({_reason(error)}). Run the same harvest command again: "
                "it rewrites the manifest and computes only what is missing."
            ) from error


def sealed(form: Mapping[str, Any]) -> dict[str, Any]:
    """A mapping with the name and version of the format and a checksum, as a JSON file of a harvest holds it."""
    return with_checksum({"format": FORMAT, "version": VERSION, **form})


def unsealed(path: Path) -> dict[str, Any]:
    """Read the mapping of a JSON file of a harvest, and compare its checksum.

    Raises:
        RequestError: it has another version of the format.
        ValueError: it is damaged; the message says how.
        OSError: it cannot be read.
    """
    form = read_json(path, _LARGEST)
    if not isinstance(form, dict) or form.get("format", FORMAT) != FORMAT:
        raise ValueError(f"its format is not {FORMAT!r}")
    if form.get("version", 1) != VERSION:
        raise RequestError(
            f"{path} has version {str(form.get('version', 1))[:20]} of the harvest format, but this program reads "
            f"version {VERSION}, in which every file has a checksum. Harvest again, into a new folder."
        )
    return without_checksum(form)


def layers_of(header: Mapping[str, Any]) -> dict[str, Layer]:
    """The layers of a header.

    Raises:
        ValueError: the header is malformed.
    """
    for key in ("model", "layers", "contexts", "text"):
        if not isinstance(header.get(key), Mapping):
            raise ValueError(f"its header lacks {key!r}")
    layers = {}
    for name, row in header["layers"].items():
        if not isinstance(row, Mapping) or not isinstance(row.get("shape"), list):
            raise ValueError(f"the layer {name!r} has no shape")
        shape = tuple(row["shape"])
        if not shape or not all(type(n) is int and n > 0 for n in shape):
            raise ValueError(f"the layer {name!r} has the shape {shape}")
        dtype_named(row["dtype"])
        layers[name] = Layer(shape, row["dtype"])
    if not layers:
        raise ValueError("its header names no layer")
    gradients = header.get("gradients", [])
    if not isinstance(gradients, list) or any(name not in layers for name in gradients):
        raise ValueError("its header names gradients of a layer that it does not have")
    return layers


def difference(one: Any, other: Any, place: str = "") -> str:
    """A text that names the first difference of two JSON values; empty if they are equal.

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
        ValueError: its numbers are malformed, or its file lies outside the folder.
        TypeError: keys are missing or unknown.
    """
    if not isinstance(row, Mapping):
        raise ValueError("a shard is not a mapping")
    shard = Shard(**row)
    numbers = (shard.unit, shard.rows, shard.contexts, shard.bytes)
    if not all(type(n) is int and n >= 0 for n in numbers):
        raise ValueError(f"the shard {shard.file!r} has malformed numbers")
    if not isinstance(shard.file, str) or Path(shard.file).name != shard.file or shard.file.startswith("."):
        raise ValueError(f"the shard {shard.file!r} lies outside the folder")
    return shard


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)
