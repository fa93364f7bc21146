"""Reading a harvest folder: `read_harvest` for `data.open`, and `Harvest`, which checks all before it is believed."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from narrows.check import RequestError, choice, nearest, refuse
from narrows.data.manifest import FORMAT, MANIFEST, Manifest, Shard
from narrows.data.origin import Origin, Places, remembered
from narrows.data.raw import Raw
from narrows.data.shards import HEADER, PLACES, sound, survey
from narrows.data.stored import Index, Region, Stored
from narrows.data.tensorfile import dtype_named, read_table

__all__ = ["LAYOUTS", "Harvest", "is_harvest", "read_harvest"]

LAYOUTS = ("auto", "rows", "stack", "pool", "contexts")
ORDERS = ("blocks", "units")

_IN_MEMORY = 256 << 20
"""Harvests up to this size (bytes of float32) are read into memory: any order is then as cheap as any other, which
mixes rows best, it takes a second, and it is little beside the model that they are for. Larger ones stay on disk."""

_VERIFIED = 4 << 30
"""Harvests up to this size (bytes on disk) have their checksums compared when they are opened, a few seconds."""

_EVERY = 10
_FEW = 20
_MEND = "Run the same harvest command again: it fills in only what is missing"


@dataclass(frozen=True)
class Division:
    """Which rows (or whole contexts) of the shards are the training part, and which the test part."""

    train: Index
    test: Index


class Harvest:
    """A harvest folder that was checked: the regions of every layer, and where contexts begin.

    Args:
        folder: where `manifest.json` lies.
        partial: take what is there of an incomplete or damaged harvest.
        verify: compare checksums; when None, if the folder is not large.

    Raises:
        RequestError: the folder is incomplete or damaged; the text says which shard, and how to mend it.
    """

    def __init__(self, folder: Path, partial: bool = False, verify: bool | None = None) -> None:
        self.folder = folder
        manifest = survey(folder) if partial else Manifest.read(folder)
        if manifest.live:
            from narrows.data.live import live_tables  # it may need a model

            self.tables: list[Mapping[str, Region]] = list(live_tables(manifest))
            self.manifest = manifest
        else:
            self.manifest, self.tables = _on_disk(manifest, partial, verify)
        self.shapes = self.manifest.shapes
        self.places = remembered(self._places)
        self.context_rows = [table["context_rows"].read().numpy().astype(np.int64) for table in self.tables]
        counts = [len(rows) for rows in self.context_rows]
        self.first_context = np.cumsum([0, *counts])[:-1]

    def _places(self, shard: int) -> Places:
        table = self.tables[shard]
        return {name: table[name].read() for name in PLACES if name in table}

    def layers(self, argument: str, names: str | Sequence[str] | None) -> tuple[str, ...]:
        """Layers by name or pattern, in the order they are asked for; the only one where none is named."""
        known = list(self.shapes)
        if names is None:
            if len(known) == 1:
                return (known[0],)
            raise RequestError(
                f"The harvest {self.folder} holds {len(known)} layers: {', '.join(known)}. "
                f"Say which with `{argument}`, such as {argument}={known[0]}."
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
        """Every tenth context is the test part; of a harvest of few contexts, every tenth row.

        Args:
            group: the rows of so many parts (layers) of a shard one after another.
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
        """How many rows every context has, and the contexts of both parts.

        Raises:
            RequestError: contexts have different lengths; only the last one of a shard may be shorter.
        """
        lengths = {int(n) for rows in self.context_rows for n in rows[:-1]} or {
            int(n) for rows in self.context_rows for n in rows
        }
        length = max(lengths)
        if len(lengths) > 1 or any(rows.max() > length for rows in self.context_rows if len(rows)):
            raise RequestError(
                f"`layout` contexts needs contexts of one length, but those of {self.folder} keep from "
                f"{min(lengths)} to {length} tokens. Harvest packed contexts, or take layout=rows."
            )
        parts: tuple[list[Index], list[Index]] = ([], [])
        for shard, rows in enumerate(self.context_rows):
            whole = np.arange(int((rows == length).sum()))
            every = min(_EVERY, max(2, sum(map(len, self.context_rows))))
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


def read_harvest(
    path: Path,
    at: str | Sequence[str] | None = None,
    layout: str = "auto",
    target: str | Sequence[str] | None = None,
    second: str | None = None,
    second_at: str | Sequence[str] | None = None,
    partial: bool = False,
    order: str = "blocks",
    mapped: bool | None = None,
    verify: bool | None = None,
) -> Raw:
    """Read activations that were harvested; every tenth context is the test part.

    Args:
        path: the folder.
        at: one layer or several, by name or pattern; may be left out where there is one.
        layout: `rows`, each token of one layer is an example, (D,); `stack`, several layers side by side, (L, D);
            `pool`, the tokens of several layers as rows, with the layer as label; `contexts`, whole contexts,
            (T, D). `auto` is rows for one layer and stack for several.
        target: the layer or layers that must be produced, where they are not the input (transcoders).
        second: another harvest folder of the same text (another model): stacked beside the first, or, with
            layout=rows, its layer is the target.
        second_at: its layers; when left out, those of `at`.
        partial: use what is there of an unfinished or damaged harvest.
        order: how rows are shuffled on disk: `blocks` (best mixed) or `units`, the order of training on the fly.
        mapped: leave the activations on disk; when left out, if they are large.
        verify: compare checksums first; when left out, if the folder is not large.
    """
    choice("layout", layout, LAYOUTS), choice("order", order, ORDERS)
    harvest = Harvest(path, partial, verify)
    names = harvest.layers("at", at)
    layout = layout if layout != "auto" else "stack" if len(names) > 1 or second else "rows"
    if layout in ("rows", "contexts") and len(names) > 1:
        raise refuse("at", names, f"one layer where layout={layout}", "Take layout=stack or layout=pool.")
    by_unit = order == "units" or harvest.manifest.live
    plan = _Plan(harvest, names, layout, by_unit)
    if second is not None:
        plan.beside(Harvest(Path(second).expanduser(), partial, verify), second_at, target)
    elif second_at is not None:
        raise refuse("second_at", second_at, "left out without `second`")
    elif target is not None:
        plan.produce(harvest, harvest.layers("target", target))
    size = plan.nbytes()
    stays = by_unit or (size > _IN_MEMORY if mapped is None else mapped)
    return plan.raw(stays)


class _Plan:
    """Which regions become the examples, the target and the columns."""

    def __init__(self, harvest: Harvest, names: tuple[str, ...], layout: str, by_unit: bool) -> None:
        self.harvest, self.names, self.layout, self.by_unit = harvest, names, layout, by_unit
        self.group = len(names) if layout == "pool" else 1
        self.length = 0
        if layout == "contexts":
            self.length, self.division = harvest.whole_contexts()
        else:
            self.division = harvest.divided(self.group)
        self.x = self._regions(harvest, names)
        self.target: list[list[Region]] | None = None
        gradients = tuple(harvest.manifest.header.get("gradients", ()))
        self.columns: dict[str, list[list[Region]]] = {}
        if set(names) <= set(gradients):
            self.columns["gradients"] = self._regions(harvest, tuple(f"{name}.grad" for name in names))
        if all("tokens" in table for table in harvest.tables):
            self.columns["tokens"] = [self._parts([harvest.regions("tokens")] * self.group)]

    def _regions(self, harvest: Harvest, names: tuple[str, ...]) -> list[list[Region]]:
        """What `Stored` wants: for each layer side by side, the regions of all parts."""
        flat = self.layout in ("stack", "pool") or len(names) > 1
        found = [harvest.regions(name, flat) for name in names]
        widths = {regions[0].shape[1:] for regions in found}
        if len(widths) > 1:
            said = ", ".join(
                f"{name} {regions[0].shape[1:]}" for name, regions in zip(names, found, strict=True)
            )
            raise refuse("at", names, f"layers of one width where layout={self.layout}", f"They are: {said}.")
        return [self._parts(found)] if self.layout == "pool" else [self._parts([one]) for one in found]

    def _parts(self, layers: list[list[Region]]) -> list[Region]:
        """The parts of the index in its order: the layers of a shard one after another; contexts as rows."""
        parts = [region for of_shard in zip(*layers, strict=True) for region in of_shard]
        if not self.length:
            return parts
        return [r.shaped((r.shape[0] // self.length, self.length, *r.shape[1:])) for r in parts]

    def beside(
        self, other: Harvest, at: str | Sequence[str] | None, target: str | Sequence[str] | None
    ) -> None:
        """Another model's activations of the same tokens: more layers of the stack, or the target."""
        _same_text(self.harvest, other)
        if at is None:
            at = None if len(other.shapes) == 1 else self.names
        if self.layout == "rows":
            self.produce(other, other.layers("target", target) if target else other.layers("second_at", at))
            return
        if self.layout != "stack" or target is not None:
            raise refuse("second", str(other.folder), "given with layout=stack or layout=rows")
        names = other.layers("second_at", at)
        more = self._regions(other, names)
        one, two = self.x[0][0].shape[1:], more[0][0].shape[1:]
        if one != two:
            raise refuse(
                "second",
                str(other.folder),
                f"activations of the same width where they are stacked ({one}, not {two})",
                "With layout=rows the second model's layer is the target, of any width.",
            )
        self.x += more
        self.columns.pop("gradients", None)

    def produce(self, harvest: Harvest, names: tuple[str, ...]) -> None:
        """Take other layers as what must be produced."""
        if self.layout == "pool":
            raise refuse("target", names, "left out where layout=pool")
        self.target = self._regions(harvest, names)

    def nbytes(self) -> int:
        """How many bytes all of it would take in memory."""
        both = len(self.division.train) + len(self.division.test)
        stores = [self.x, *([self.target] if self.target else []), *self.columns.values()]
        return both * sum(self._stored(Index([], [], []), regions).row_bytes for regions in stores)

    def _stored(self, index: Index, regions: list[list[Region]]) -> Stored:
        alike = (self.x, self.columns.get("gradients"))
        stacked = len(regions) > 1 or (self.layout == "stack" and any(regions is one for one in alike))
        return Stored(index, regions, stacked, self.group, self.by_unit)

    def raw(self, stays: bool) -> Raw:
        """The examples for `open`, both parts."""
        train = self._part(self.division.train, stays)
        train.test = self._part(self.division.test, stays)
        return train

    def _part(self, index: Index, stays: bool) -> Raw:
        def made(regions: list[list[Region]]) -> Any:
            store = self._stored(index, regions)
            return store if stays else store.read(slice(0, len(store))).numpy()

        x, harvest = made(self.x), self.harvest
        pooled = self.layout == "pool"
        labels = np.repeat(index.part % self.group, index.count) if pooled else None
        origin = Origin(
            harvest.manifest,
            self.names,
            index,
            harvest.places,
            harvest.first_context,
            self.group,
            self.length,
        )
        return Raw(
            x,
            labels=labels,
            target=None if self.target is None else made(self.target),
            class_names=self.names if pooled else (),
            stores={name: made(regions) for name, regions in self.columns.items()},
            layout="vector" if x.ndim == 2 else "sequence",
            scale="none",
            origin=origin,
        )


def _on_disk(
    manifest: Manifest, partial: bool, verify: bool | None
) -> tuple[Manifest, list[Mapping[str, Region]]]:
    """The shards that are sound, and their tables; unless `partial`, all must be."""
    folder, shards = manifest.folder, manifest.shards
    if not manifest.complete and not partial:
        raise RequestError(
            f"The harvest {folder} is not finished: {len(shards)} of {manifest.units} shards are there. "
            f"{_MEND}; or use what is there with the option partial=yes."
        )
    small = sum(shard.bytes for shard in shards) <= _VERIFIED
    verify = small if verify is None else verify
    tables, kept, said = [], [], []
    for shard in shards:
        try:
            tables.append(_checked(manifest, shard, verify))
            kept.append(shard)
        except (OSError, ValueError) as error:
            reason = "is missing" if isinstance(error, FileNotFoundError) else f"is damaged ({error})"
            said.append(f"{shard.file} {reason}")
    if said and not partial:
        more = f" and {len(said) - 1} more" if len(said) > 1 else ""
        raise RequestError(
            f"Of the harvest {folder} the shard {said[0]}{more}. {_MEND}; or use the others with partial=yes."
        )
    if not any(shard.rows for shard in kept):
        raise RequestError(f"The harvest {folder} holds no sound shard with rows. {_MEND}.")
    return Manifest(folder, manifest.header, manifest.units, tuple(kept), manifest.layers, not said), tables


def _checked(manifest: Manifest, shard: Shard, verify: bool) -> Mapping[str, Region]:
    """The table of a shard, held to the manifest.

    Raises:
        ValueError: it is not as the manifest says.
    """
    path = manifest.folder / shard.file
    size = path.stat().st_size
    if size != shard.bytes:
        raise ValueError(f"it has {size} bytes instead of {shard.bytes}")
    table = read_table(path)
    for name in ("positions", "context_rows", *manifest.shapes):
        if name not in table:
            raise ValueError(f"it holds no `{name}`")
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
    rows = table["context_rows"].read()
    if int(rows.sum()) != shard.rows or (len(rows) and int(rows.min()) < 0):
        raise ValueError("its contexts do not have as many rows as it has")
    if verify and not sound(manifest.folder, shard):
        raise ValueError("its checksum is not the one that was noted")
    return table


def _same_text(one: Harvest, two: Harvest) -> None:
    """Hold two harvests to the same tokens, row by row."""
    ids = [[shard.unit for shard in h.manifest.shards] for h in (one, two)]
    same = ids[0] == ids[1] and len(one.tables) == len(two.tables)
    for shard in range(len(one.tables) if same else 0):
        a, b = one.places(shard), two.places(shard)
        both = [name for name in PLACES if name in a or name in b]
        differs = [n for n in both if n not in a or n not in b or not torch.equal(a[n], b[n])]
        if differs:
            raise refuse(
                "second",
                str(two.folder),
                f"a harvest of the same tokens as {one.folder}",
                f"They differ first in `{differs[0]}` of shard {shard}. Harvest both with one tokenizer, text and "
                "contexts.",
            )
    if not same:
        raise refuse(
            "second", str(two.folder), f"a harvest with the same shards as {one.folder}", f"{_MEND} for both."
        )


def _runs(part: int, sizes: np.ndarray, chosen: np.ndarray) -> Index:
    """The rows of some contexts of a part; neighbours are one run."""
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
