"""`ShardWriter`: writes a harvest unit by unit, from several processes into one folder, safe against being killed.

A folder holds ``header.json`` (what is harvested), for each unit ``shard-000000.safetensors`` and, written after it,
``shard-000000.json`` (its checksum, rows and sums), and at the end ``manifest.json`` with ``means.safetensors``.
A shard without its ``.json`` is not there. Ranks never write one unit twice and share nothing but the folder.

==================  ============================  ===========================================================
tensor of a shard   shape                         what it is
==================  ============================  ===========================================================
``<layer>``         (rows, *shape of the layer)   activations, one row a kept token, contexts one after another
``<layer>.grad``    the same                      gradients there, for the layers in the header's `gradients`
``positions``       (rows,)                       each row's place in its context, from 0
``context_rows``    (contexts,)                   how many rows each context has; they sum to `rows`
``context_tokens``  (all tokens,)                 the token ids of the whole contexts, one after another
``context_sizes``   (contexts,)                   how many tokens each context has; they sum to `all tokens`
``tokens``          (rows,)                       each row's token id (the writer adds it)
==================  ============================  ===========================================================

The last three are absent where the contexts are not text.
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
from narrows.core.files import remove_sides, write
from narrows.core.tensorfile import dtype_named, read_table, write_tensors

__all__ = ["HEADER", "MEANS", "PLACES", "ShardWriter", "sound", "survey"]

HEADER, MEANS, CONTEXTS = "header.json", "means.safetensors", "contexts.safetensors"
PLACES = ("positions", "context_rows", "context_tokens", "context_sizes", "tokens")
_AGAIN = "Free some, then run the same harvest command again: it fills in only what is missing."


class ShardWriter:
    """Writes the shards of one harvest into a folder.

    Args:
        folder: made where it is not there.
        header: what is harvested, JSON-able: `model` (name, revision, kind), `layers` (by name a `shape` and the
            `dtype` that is stored), `contexts` (settings), `text` (its digest); optional `gradients` (names of the
            layers whose gradients are kept) and anything else worth noting. Everything in it must be alike for two
            harvests to share a folder.

    Raises:
        RequestError: the folder holds a harvest with another header, or other files.
        WorkError: it cannot be written to.

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
            raise WorkError(f"The folder {self.folder} cannot be made: {error}") from error
        self._claim()

    def _claim(self) -> None:
        """Write the header first, or hold ours to the one that is there."""
        path = self.folder / HEADER
        if not path.exists():
            strange = [p.name for p in self.folder.iterdir() if p.name[0] != "." and p.name != CONTEXTS]
            if strange and not path.exists():  # another rank may have been first just now
                raise refuse(
                    "out",
                    str(self.folder),
                    "an empty folder or a harvest",
                    f"It holds `{sorted(strange)[0]}`.",
                )
            side = self.folder / f".{HEADER}.{secrets.token_hex(8)}.first"
            write(side, json.dumps(sealed({"header": self.header}), indent=1).encode(), _AGAIN)
            try:
                os.link(side, path)  # fails where another process was first, unlike a rename
            except FileExistsError:
                pass
            except OSError:  # a file system without links: the last of several equal headers stays
                side.replace(path)
            finally:
                side.unlink(missing_ok=True)
        try:
            there = unsealed(path)["header"]
        except RequestError:
            raise
        except (OSError, ValueError, KeyError) as error:
            raise WorkError(
                f"{path} cannot be read: {error}. Remove it if the folder is this harvest's."
            ) from error
        differs = difference(there, self.header)
        if differs:
            raise refuse(
                "out",
                str(self.folder),
                "a new folder or one of this very harvest",
                f"It holds another: {differs}.",
            )

    def missing(self, units: Iterable[int]) -> list[int]:
        """The units that are not yet soundly on the disk; checksums are compared."""
        return [unit for unit in units if self._sound(unit) is None]

    def write(self, unit: int, tensors: Mapping[str, Tensor]) -> None:
        """Write one unit: all of it, or nothing.

        Args:
            unit: its number.
            tensors: every layer of the header, and `positions`, `context_rows`, `context_tokens`, `context_sizes`.
                Layers are stored in the header's type.

        Raises:
            RequestError: the tensors are not what the header says.
            WorkError: NaN or infinite numbers, or a full disk; what is there already is kept.
        """
        ready = self._ready(unit, tensors)
        sums = {name: _sums(ready[name], name, unit, self.layers[name].dtype) for name in self.layers}
        name = self._name(unit)
        remove_sides(self.folder)  # of a process that was killed here
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
        """Write the manifest of what is there; any rank may call it, and the last one sees all.

        Args:
            units: all units of the harvest.
            live: the rows are computed when they are read: no shards are expected.
        """
        units = list(units)
        while True:
            found = {unit: row for unit in units if (row := self._sidecar(unit)) is not None}
            manifest = self._merged(found, len(units), live)
            content = json.dumps(manifest.to_json(), indent=1) + "\n"
            write(self.folder / MANIFEST, content.encode(), _AGAIN)
            if live or all(self._sidecar(unit) is None for unit in units if unit not in found):
                return manifest  # else another rank wrote on while we merged

    def _merged(self, found: Mapping[int, Mapping[str, Any]], units: int, live: bool) -> Manifest:
        rows = [found[unit] for unit in sorted(found)]
        facts: dict[str, dict[str, float]] = {}
        means: dict[str, Tensor] = {}
        for name in self.layers if rows else ():
            parts = [row["sums"][name] for row in rows]
            count = sum(part["count"] for part in parts)
            total = torch.stack([torch.tensor(part["sum"], dtype=torch.float64) for part in parts]).sum(0)
            means[name] = total / max(count, 1)
            facts[name] = {
                "count": count,
                "mean_norm": sum(part["norms"] for part in parts) / max(count, 1),
                "mean_square": sum(part["squares"] for part in parts) / max(count, 1),
            }
        if means:
            write_tensors(self.folder / MEANS, means, _AGAIN)
        shards = tuple(Shard(**row["shard"]) for row in rows)
        whole = live or len(shards) == units
        return Manifest(self.folder, self.header, units, shards, facts, whole, live)

    def _name(self, unit: int) -> str:
        return f"shard-{unit:06d}"

    def _sidecar(self, unit: int) -> dict[str, Any] | None:
        """What is noted of a unit whose file has the right size, or None."""
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

    def _sound(self, unit: int) -> Shard | None:
        row = self._sidecar(unit)
        if row is None:
            return None
        shard = Shard(**row["shard"])
        return shard if sound(self.folder, shard) else None

    def _ready(self, unit: int, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors as they are stored, or a refusal that says what does not fit."""
        wanted = [*self.layers, *(f"{layer}.grad" for layer in self.gradients)]
        if set(tensors) - {*wanted, *PLACES} or set(wanted) - set(tensors):
            raise refuse(
                "tensors",
                sorted(tensors),
                f"the layers {', '.join(wanted)} and where they are ({', '.join(PLACES)})",
            )
        rows = len(tensors[wanted[0]])
        ready = {}
        for name in wanted:
            layer = self.layers[name.removesuffix(".grad") if name not in self.layers else name]
            if tuple(tensors[name].shape) != (rows, *layer.shape):
                raise refuse(
                    name,
                    tuple(tensors[name].shape),
                    f"of shape {(rows, *layer.shape)} as the header says",
                )
            ready[name] = tensors[name].detach().to("cpu", dtype_named(layer.dtype))
        places = {name: tensors[name].detach().to("cpu", torch.int32) for name in PLACES if name in tensors}
        places.setdefault("positions", torch.zeros(rows, dtype=torch.int32))
        places.setdefault("context_rows", torch.ones(rows, dtype=torch.int32))
        if len(places["positions"]) != rows or int(places["context_rows"].sum()) != rows:
            raise refuse(
                "positions", f"{len(places['positions'])} places", f"one for each of the {rows} rows"
            )
        if "context_tokens" in places:
            places["tokens"] = _token_of_row(places)
        return ready | places


def survey(folder: Path) -> Manifest:
    """What is on the disk of a harvest that may not be finished, from the notes beside its shards.

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
        with suppress(OSError, ValueError, KeyError, TypeError):  # damaged: as if it were not there
            shards.append(shard_of(unsealed(note)["shard"]))
    return Manifest(folder, header, len(shards), tuple(sorted(shards, key=lambda s: s.unit)))


def sound(folder: Path, shard: Shard) -> bool:
    """Whether a shard is on the disk with the size and the checksum that were noted for it."""
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


def _token_of_row(places: Mapping[str, Tensor]) -> Tensor:
    """The token of each row, from the whole contexts and the rows' places in them."""
    sizes, tokens = places.get("context_sizes", torch.zeros(0)), places["context_tokens"]
    if len(sizes) != len(places["context_rows"]) or int(sizes.sum()) != len(tokens):
        raise refuse(
            "context_sizes",
            sizes.tolist()[:8],
            f"one size a context, and {len(tokens)} tokens in all",
        )
    of = torch.repeat_interleave(torch.arange(len(sizes)), places["context_rows"].long())
    positions = places["positions"].long()
    if len(positions) and (int(positions.min()) < 0 or bool((positions >= sizes.long()[of]).any())):
        raise refuse("positions", int(positions.max()), "a place inside its context")
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
                "Nothing of this unit was written; what was harvested before is kept."
            )
        total += wide.sum(0)
        norms += float(square.sqrt().sum())
        squares += float(square.sum())
    return {"count": len(rows), "sum": total.tolist(), "norms": norms, "squares": squares}
