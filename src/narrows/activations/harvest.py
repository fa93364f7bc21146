"""`Harvest`: a checked harvest folder with its shards, layers and contexts."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from narrows.activations.manifest import FORMAT, MANIFEST, Manifest, Shard
from narrows.activations.provenance import Metadata, remembered
from narrows.activations.rows import Index, Region
from narrows.activations.shards import HEADER, METADATA, intact, survey
from narrows.core.check import RequestError, nearest, refuse
from narrows.core.tensorfile import dtype_named, read_table

__all__ = ["REPAIR", "Division", "Harvest", "is_harvest"]

_VERIFIED = 4 << 30
"""Largest size (bytes on disk) of a harvest whose checksums are compared when it is opened, which takes seconds."""

_EVERY = 10
_FEW = 20
REPAIR = "Run the same harvest command again: it computes only what is missing"


@dataclass(frozen=True)
class Division:
    """The rows (or whole contexts) of the shards that are the training part and the test part."""

    train: Index
    test: Index


class Harvest:
    """A checked harvest folder: the regions of every layer, and the rows of every context.

    Args:
        folder: the folder of `manifest.json`.
        partial: use the intact shards of an incomplete or damaged harvest.
        verify: compare checksums; None compares them if the folder is not large.

    Raises:
        RequestError: the folder is incomplete or damaged; the message names the shard and the repair.
    """

    def __init__(self, folder: Path, partial: bool = False, verify: bool | None = None) -> None:
        self.folder = folder
        manifest = _found(folder) if partial else Manifest.read(folder)
        if manifest.live:
            from narrows.activations.live import live_tables  # needed only where a model is run

            self.tables: list[Mapping[str, Region]] = list(live_tables(manifest))
            self.manifest = manifest
        else:
            self.manifest, self.tables = _on_disk(manifest, partial, verify)
        self.shapes = self.manifest.shapes
        self.metadata = remembered(self._metadata)
        self.context_rows = [table["context_rows"].read().numpy().astype(np.int64) for table in self.tables]
        counts = [len(rows) for rows in self.context_rows]
        self.first_context = np.cumsum([0, *counts])[:-1]

    def _metadata(self, shard: int) -> Metadata:
        table = self.tables[shard]
        return {name: table[name].read() for name in METADATA if name in table}

    def layers(self, argument: str, names: str | Sequence[str] | None) -> tuple[str, ...]:
        """Layers by name or pattern, in the order of the request; with None, the only layer."""
        known = list(self.shapes)
        if names is None:
            if len(known) == 1:
                return (known[0],)
            raise RequestError(
                f"The harvest {self.folder} holds {len(known)} layers: {', '.join(known)}. "
                f"Choose with `{argument}`, such as {argument}={known[0]}."
            )
        found: list[str] = []
        for name in [names] if isinstance(names, str) else [str(n) for n in names]:
            fits = [name] if name in known else [k for k in known if fnmatch.fnmatchcase(k, name)]
            if not fits:
                raise refuse(argument, name, f"a layer of {self.folder}", nearest(name, known))
            found += [k for k in fits if k not in found]
        return tuple(found)

    def regions(self, layer: str, flat: bool = False) -> list[Region]:
        """A layer's region of each shard; `flat` makes each row a vector."""
        regions = [table[layer] for table in self.tables]
        return [r.shaped((r.shape[0], _size(r.shape[1:]))) for r in regions] if flat else regions

    def divided(self, group: int = 1) -> Division:
        """Divide the contexts: every tenth one is in the test part; with few contexts, every tenth row.

        Args:
            group: how many parts (layers) of a shard are read one after another.
        """
        contexts = sum(len(rows) for rows in self.context_rows)
        parts: tuple[list[Index], list[Index]] = ([], [])
        for shard, rows in enumerate(self.context_rows):
            if contexts < _FEW:
                sizes = np.ones(int(rows.sum()), np.int64)
                first = sum(int(r.sum()) for r in self.context_rows[:shard])
            else:
                sizes, first = rows, int(self.first_context[shard])
            test = (first + np.arange(len(sizes))) % _EVERY == _EVERY - 1
            for part, chosen in zip(parts, (~test, test), strict=True):
                part += [_runs(shard * group + number, sizes, chosen) for number in range(group)]
        return Division(*(_joined(part) for part in parts))

    def whole_contexts(self) -> tuple[int, Division]:
        """The number of rows of every context, and the contexts of both parts.

        Raises:
            RequestError: contexts differ in length; only the last one of a shard may be shorter.
        """
        lengths = {int(n) for rows in self.context_rows for n in rows[:-1]} or {
            int(n) for rows in self.context_rows for n in rows
        }
        length = max(lengths)
        if len(lengths) > 1 or any(rows.max() > length for rows in self.context_rows if len(rows)):
            raise RequestError(
                f"``layout='contexts'`` needs contexts of one length, but those of {self.folder} have from "
                f"{min(lengths)} to {length} kept tokens. Harvest packed contexts, or use layout=rows."
            )
        parts: tuple[list[Index], list[Index]] = ([], [])
        all_whole = sum(int((rows == length).sum()) for rows in self.context_rows)
        every = _EVERY if all_whole >= _FEW else min(_EVERY, max(2, all_whole))
        for shard, rows in enumerate(self.context_rows):
            whole = np.arange(int((rows == length).sum()))
            test = (int(self.first_context[shard]) + whole) % every == every - 1
            for part, chosen in zip(parts, (~test, test), strict=True):
                part.append(_runs(shard, np.ones(len(whole), np.int64), chosen))
        return length, Division(*(_joined(part) for part in parts))


def is_harvest(folder: Path) -> bool:
    """Whether a folder is a harvest, finished or not."""
    if (folder / HEADER).is_file():
        return True
    try:
        with (folder / MANIFEST).open("rb") as file:
            return FORMAT.encode() in file.read(256)
    except OSError:
        return False


def _found(folder: Path) -> Manifest:
    """The manifest of the shards that exist, whether the folder's own manifest is complete or not."""
    with suppress(RequestError):
        manifest = Manifest.read(folder)
        if manifest.live or not (folder / HEADER).is_file():
            return manifest
    return survey(folder)


def _on_disk(
    manifest: Manifest, partial: bool, verify: bool | None
) -> tuple[Manifest, list[Mapping[str, Region]]]:
    """The intact shards and their tables; unless `partial`, all shards must be intact."""
    folder, shards = manifest.folder, manifest.shards
    if not manifest.complete and not partial:
        raise RequestError(
            f"The harvest {folder} is not finished: it has {len(shards)} of {manifest.units} shards. "
            f"{REPAIR}; or use those with ``partial=True``."
        )
    small = sum(shard.bytes for shard in shards) <= _VERIFIED
    verify = small if verify is None else verify
    tables, kept, problems = [], [], []
    for shard in shards:
        try:
            tables.append(_checked(manifest, shard, verify))
            kept.append(shard)
        except (OSError, ValueError) as error:
            reason = "is missing" if isinstance(error, FileNotFoundError) else f"is damaged ({error})"
            problems.append(f"{shard.file} {reason}")
    if problems and not partial:
        more = f" and {len(problems) - 1} more" if len(problems) > 1 else ""
        raise RequestError(
            f"Of the harvest {folder} the shard {problems[0]}{more}. {REPAIR}; "
            "or use the others with ``partial=True``."
        )
    if not any(shard.rows for shard in kept):
        raise RequestError(f"The harvest {folder} has no intact shard with rows. {REPAIR}.")
    return Manifest(
        folder, manifest.header, manifest.units, tuple(kept), manifest.layers, not problems
    ), tables


def _checked(manifest: Manifest, shard: Shard, verify: bool) -> Mapping[str, Region]:
    """The table of a shard, checked against the manifest.

    Raises:
        ValueError: it differs from the manifest.
    """
    path = manifest.folder / shard.file
    size = path.stat().st_size
    if size != shard.bytes:
        raise ValueError(f"it has {size} bytes instead of {shard.bytes}")
    table = read_table(path)
    for name in ("positions", "context_rows", *manifest.shapes):
        if name not in table:
            raise ValueError(f"it has no `{name}`")
    gradients = manifest.header.get("gradients", ())
    for name, layer in [*manifest.shapes.items(), *((f"{n}.grad", manifest.shapes[n]) for n in gradients)]:
        entry = table.get(name)
        if (
            entry is None
            or entry.shape != (shard.rows, *layer.shape)
            or entry.dtype != dtype_named(layer.dtype)
        ):
            found = None if entry is None else (entry.shape, str(entry.dtype))
            raise ValueError(f"`{name}` is {found} instead of {(shard.rows, *layer.shape)} {layer.dtype}")
    for name, count in (("positions", shard.rows), ("tokens", shard.rows), ("context_rows", shard.contexts)):
        if name in table and table[name].shape != (count,):
            raise ValueError(f"`{name}` has the shape {table[name].shape} instead of {(count,)}")
    rows = _whole_numbers(table, "context_rows")
    if int(rows.sum()) != shard.rows or (len(rows) and int(rows.min()) < 0):
        raise ValueError("its contexts do not have as many rows as it has")
    if "context_tokens" in table:
        sizes, ids = _whole_numbers(table, "context_sizes"), table["context_tokens"]
        if len(sizes) != shard.contexts or ids.shape != (int(sizes.sum()),) or bool((sizes < 0).any()):
            raise ValueError("its contexts do not have as many tokens as it has")
    if verify and not intact(manifest.folder, shard):
        raise ValueError("its checksum differs from the recorded one")
    return table


def _whole_numbers(table: Mapping[str, Region], name: str) -> Tensor:
    """A tensor of whole numbers, (contexts,)."""
    if name not in table or table[name].dtype.is_floating_point or len(table[name].shape) != 1:
        raise ValueError(f"`{name}` is not a vector of whole numbers")
    return table[name].read().long()


def _runs(part: int, sizes: np.ndarray, chosen: np.ndarray) -> Index:
    """The rows of the chosen contexts of a part; adjacent contexts form one run."""
    if not len(sizes):
        return Index([], [], [])
    ends = np.cumsum(sizes)
    new = np.flatnonzero(np.append(True, chosen[1:] != chosen[:-1]))
    last = np.append(new[1:], len(sizes)) - 1
    first = (ends - sizes)[new]
    keep = chosen[new]
    return Index(np.full(int(keep.sum()), part), first[keep], (ends[last] - first)[keep])


def _joined(parts: Sequence[Index]) -> Index:
    return Index(
        *(np.concatenate([getattr(p, k) for p in parts] or [[]]) for k in ("part", "first", "count"))
    )


def _size(shape: Sequence[int]) -> int:
    return int(np.prod(shape, dtype=np.int64))
