"""`ShardWriter`: writes a harvest unit by unit, from several processes into one folder; a killed process loses no unit.

A folder holds ``header.json`` (the description of the harvest), for each unit ``shard-000000.safetensors`` and, written
after it, ``shard-000000.json`` (its checksum, rows and sums), and at the end ``manifest.json`` with
``means.safetensors``. A shard without its ``.json`` counts as missing. Ranks write different units and share nothing
but the folder.

==================  ============================  ===========================================================
tensor of a shard   shape                         content
==================  ============================  ===========================================================
``<layer>``         (rows, *shape of the layer)   activations, one row per kept token, contexts concatenated
``<layer>.grad``    the same                      their gradients, for the layers in the header's `gradients`
``positions``       (rows,)                       each row's position in its context, from 0
``context_rows``    (contexts,)                   number of rows of each context; they sum to `rows`
``context_tokens``  (all tokens,)                 the token ids of the whole contexts, concatenated
``context_sizes``   (contexts,)                   number of tokens of each context; they sum to `all tokens`
``tokens``          (rows,)                       each row's token id (the writer adds it)
==================  ============================  ===========================================================

The last three are absent if the contexts are not text.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import secrets
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from narrows.activations.manifest import (
    MANIFEST,
    Manifest,
    Shard,
    difference,
    layers_of,
    sealed,
    shard_of,
    unsealed,
)
from narrows.core.check import RequestError, WorkError, refuse
from narrows.core.files import remove_temporary_files, write
from narrows.core.tensorfile import dtype_named, read_table, write_tensors

__all__ = ["HEADER", "MEANS", "METADATA", "ShardWriter", "intact", "survey"]

HEADER, MEANS, CONTEXTS = "header.json", "means.safetensors", "contexts.safetensors"
METADATA = ("positions", "context_rows", "context_tokens", "context_sizes", "tokens")
_AGAIN = "Free some, then run the same harvest command again: it computes only what is missing."


class ShardWriter:
    """Writes the shards of one harvest into a folder.

    Args:
        folder: created if it does not exist.
        header: a description of the harvest that JSON can hold: `model` (name, revision, kind), `layers` (by name a
            `shape` and the stored `dtype`), `contexts` (options), `text` (its digest), optionally `gradients` (names
            of the layers whose gradients are stored) and further entries. Two harvests share a folder only if their
            headers are equal.

    Raises:
        RequestError: the folder holds a harvest with another header, or other files.
        WorkError: the folder cannot be written to.

    Example:
        >>> import tempfile
        >>> header = {"model": {"name": "toy"}, "layers": {"mlp.0": {"shape": [2], "dtype": "float16"}},
        ...           "contexts": {"length": 3}, "text": {"sha256": "0"}}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     writer = ShardWriter(Path(folder) / "acts", header)
        ...     rows = {"mlp.0": torch.ones(3, 2), "positions": torch.arange(3), "context_rows": torch.tensor([3])}
        ...     writer.write(1, rows)
        ...     writer.missing(range(2)), writer.finish(range(2)).complete
        ([0], False)
    """

    def __init__(self, folder: str | Path, header: Mapping[str, Any]) -> None:
        self.folder, self.header = Path(folder), json.loads(json.dumps(header))
        try:
            self.layers = layers_of(self.header)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise refuse("header", sorted(header), f"a harvest's header ({error})") from error
        self.gradients: tuple[str, ...] = tuple(self.header.get("gradients", ()))
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WorkError(f"The folder {self.folder} cannot be created: {error}") from error
        self._claim()

    def _claim(self) -> None:
        """Write the header, or compare it with the one that exists."""
        path = self.folder / HEADER
        if not path.exists():
            strange = [p.name for p in self.folder.iterdir() if p.name[0] != "." and p.name != CONTEXTS]
            if strange and not path.exists():  # another rank may have written it just now
                raise refuse(
                    "out",
                    str(self.folder),
                    "an empty folder or a harvest",
                    f"It holds `{sorted(strange)[0]}`.",
                )
            side = self.folder / f".{HEADER}.{secrets.token_hex(8)}.first"
            write(side, json.dumps(sealed({"header": self.header}), indent=1).encode(), _AGAIN)
            try:
                os.link(side, path)  # unlike a rename, this fails if another process was first
            except FileExistsError:
                pass
            except OSError:  # a file system without links: the last of several equal headers remains
                side.replace(path)
            finally:
                side.unlink(missing_ok=True)
        try:
            there = unsealed(path)["header"]
        except RequestError:
            raise
        except (OSError, ValueError, KeyError) as error:
            raise WorkError(
                f"{path} cannot be read: {error}. Remove it if the folder belongs to this harvest."
            ) from error
        differs = difference(there, self.header)
        if differs:
            raise refuse(
                "out",
                str(self.folder),
                "a new folder or one of the same harvest",
                f"It holds another harvest: {differs}.",
            )

    def missing(self, units: Iterable[int]) -> list[int]:
        """The units that are missing or damaged on disk; checksums are compared."""
        return [unit for unit in units if self._intact(unit) is None]

    def write(self, unit: int, tensors: Mapping[str, Tensor]) -> None:
        """Write one unit, atomically.

        Args:
            unit: its number.
            tensors: every layer of the header, and `positions`, `context_rows`, `context_tokens`, `context_sizes`.
                Layers are stored in the header's type.

        Raises:
            RequestError: the tensors do not fit the header.
            WorkError: NaN or infinite numbers, or a full disk; earlier units are kept.
        """
        ready = self._ready(unit, tensors)
        sums = {name: _sums(ready[name], name, unit, self.layers[name].dtype) for name in self.layers}
        name = self._name(unit)
        remove_temporary_files(self.folder)  # left by a process that was killed
        data = self.folder / f"{name}.safetensors"
        digest = write_tensors(data, ready, _AGAIN)
        shard = Shard(
            unit,
            data.name,
            len(ready["positions"]),
            len(ready["context_rows"]),
            data.stat().st_size,
            digest,
        )
        note = sealed({"shard": vars(shard), "sums": sums})
        write(self.folder / f"{name}.json", json.dumps(note).encode(), _AGAIN)

    def finish(self, units: Iterable[int], live: bool = False) -> Manifest:
        """Write the manifest of the units on disk; any rank may call it, and the last call includes all units.

        Args:
            units: all units of the harvest.
            live: the rows are computed on the fly: no shards are expected.
        """
        units = list(units)
        while True:
            found = {unit: row for unit in units if (row := self._sidecar(unit)) is not None}
            manifest = self._merged(found, len(units), live)
            content = json.dumps(manifest.to_json(), indent=1) + "\n"
            write(self.folder / MANIFEST, content.encode(), _AGAIN)
            if live or all(self._sidecar(unit) is None for unit in units if unit not in found):
                return manifest  # else another rank wrote a unit in the meantime

    def _merged(self, found: Mapping[int, Mapping[str, Any]], units: int, live: bool) -> Manifest:
        rows = [found[unit] for unit in sorted(found)]
        statistics: dict[str, dict[str, float]] = {}
        means: dict[str, Tensor] = {}
        for name in self.layers if rows else ():
            parts = [row["sums"][name] for row in rows]
            count = sum(part["count"] for part in parts)
            total = torch.stack([torch.tensor(part["sum"], dtype=torch.float64) for part in parts]).sum(0)
            means[name] = total / max(count, 1)
            statistics[name] = {
                "count": count,
                "mean_norm": sum(part["norms"] for part in parts) / max(count, 1),
                "mean_square": sum(part["squares"] for part in parts) / max(count, 1),
            }
        if means:
            write_tensors(self.folder / MEANS, means, _AGAIN)
        shards = tuple(Shard(**row["shard"]) for row in rows)
        whole = live or len(shards) == units
        return Manifest(self.folder, self.header, units, shards, statistics, whole, live)

    def _name(self, unit: int) -> str:
        return f"shard-{unit:06d}"

    def _sidecar(self, unit: int) -> dict[str, Any] | None:
        """The record of a unit whose file has the right size, or None."""
        name = f"{self._name(unit)}.safetensors"
        try:
            row = unsealed(self.folder / f"{self._name(unit)}.json")
            shard = shard_of(row["shard"])
            fits = shard.unit == unit and shard.file == name
            fits &= (self.folder / name).stat().st_size == shard.bytes
            fits &= set(row["sums"]) == set(self.layers)
            for key, layer in self.layers.items():
                fits &= len(row["sums"][key]["sum"]) == math.prod(layer.shape)
                fits &= row["sums"][key]["count"] == shard.rows
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return row if fits else None

    def _intact(self, unit: int) -> Shard | None:
        row = self._sidecar(unit)
        if row is None:
            return None
        shard = Shard(**row["shard"])
        return shard if intact(self.folder, shard) else None

    def _ready(self, unit: int, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors as they are stored; raises if one does not fit the header."""
        wanted = [*self.layers, *(f"{layer}.grad" for layer in self.gradients)]
        if set(tensors) - {*wanted, *METADATA} or set(wanted) - set(tensors):
            raise refuse(
                "tensors",
                sorted(tensors),
                f"the layers {', '.join(wanted)} and their metadata ({', '.join(METADATA)})",
            )
        rows = len(tensors[wanted[0]])
        ready = {}
        for name in wanted:
            layer = self.layers[name.removesuffix(".grad") if name not in self.layers else name]
            if tuple(tensors[name].shape) != (rows, *layer.shape):
                raise refuse(
                    name,
                    tuple(tensors[name].shape),
                    f"of the header's shape, {(rows, *layer.shape)}",
                )
            ready[name] = tensors[name].detach().to("cpu", dtype_named(layer.dtype))
        metadata = {
            name: tensors[name].detach().to("cpu", torch.int32) for name in METADATA if name in tensors
        }
        metadata.setdefault("positions", torch.zeros(rows, dtype=torch.int32))
        metadata.setdefault("context_rows", torch.ones(rows, dtype=torch.int32))
        if len(metadata["positions"]) != rows or int(metadata["context_rows"].sum()) != rows:
            raise refuse(
                "positions", f"{len(metadata['positions'])} positions", f"one for each of the {rows} rows"
            )
        if "context_tokens" in metadata:
            metadata["tokens"] = _token_of_row(metadata)
        return ready | metadata


def survey(folder: Path) -> Manifest:
    """The manifest of an unfinished harvest, from the records beside its shards.

    Raises:
        RequestError: the header is missing or damaged.
    """
    path = folder / HEADER
    try:
        header = unsealed(path)["header"]
        layers_of(header)
    except RequestError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RequestError(f"{path} cannot be read: {error}. Harvest into a new folder.") from error
    shards = []
    for note in sorted(folder.glob("shard-*.json")):
        with suppress(OSError, ValueError, KeyError, TypeError):  # a damaged record counts as missing
            shards.append(shard_of(unsealed(note)["shard"]))
    return Manifest(folder, header, len(shards), tuple(sorted(shards, key=lambda s: s.unit)))


def intact(folder: Path, shard: Shard) -> bool:
    """Whether a shard is on disk with its recorded size and checksum."""
    path = folder / shard.file
    try:
        if path.stat().st_size != shard.bytes:
            return False
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != shard.sha256:
                return False
        read_table(path)
    except (OSError, ValueError):
        return False
    return True


def _token_of_row(metadata: Mapping[str, Tensor]) -> Tensor:
    """The token of each row, from the whole contexts and the positions of the rows in them."""
    sizes, tokens = metadata.get("context_sizes", torch.zeros(0)), metadata["context_tokens"]
    if len(sizes) != len(metadata["context_rows"]) or int(sizes.sum()) != len(tokens):
        raise refuse(
            "context_sizes",
            sizes.tolist()[:8],
            f"one size a context, and {len(tokens)} tokens in all",
        )
    of = torch.repeat_interleave(torch.arange(len(sizes)), metadata["context_rows"].long())
    positions = metadata["positions"].long()
    if len(positions) and (int(positions.min()) < 0 or bool((positions >= sizes.long()[of]).any())):
        raise refuse("positions", int(positions.max()), "a position inside its context")
    starts = sizes.long().cumsum(0) - sizes.long()
    return tokens[starts[of] + positions]


def _sums(x: Tensor, name: str, unit: int, dtype: str) -> dict[str, Any]:
    """Count, sum, sum of norms and of squares of the rows, in float64.

    Raises:
        WorkError: a row is not finite.
    """
    rows = x.flatten(1)
    total = torch.zeros(rows.shape[1], dtype=torch.float64)
    norms = squares = 0.0
    for at, part in enumerate(rows.split(1 << 12)):
        wide = part.to(torch.float64)
        square = wide.square().sum(1)
        bad = ~torch.isfinite(square)
        if bool(bad.any()):
            row = (at << 12) + int(bad.nonzero()[0])
            fix = " Store it as bfloat16 or float32." if dtype == "float16" else ""
            raise WorkError(
                f"The model gives NaN or infinite numbers at `{name}` (unit {unit}, row {row}), as {dtype}.{fix} "
                "This unit was not written; earlier units are kept."
            )
        total += wide.sum(0)
        norms += float(square.sqrt().sum())
        squares += float(square.sum())
    return {"count": len(rows), "sum": total.tolist(), "norms": norms, "squares": squares}
