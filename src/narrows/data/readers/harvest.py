"""Reading harvested activations for `data.open`: rows, stacks, pools or whole contexts of selected layers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from narrows.activations.harvest import REPAIR, Harvest
from narrows.activations.provenance import Provenance
from narrows.activations.rows import ActivationRows, Index, Region
from narrows.activations.shards import METADATA
from narrows.core.check import choice, refuse
from narrows.data.raw import Raw

__all__ = ["LAYOUTS", "read_harvest"]

LAYOUTS = ("auto", "rows", "stack", "pool", "contexts")
ORDERS = ("blocks", "units")

_IN_MEMORY = 256 << 20
"""Harvests up to this size (bytes of float32) are read into memory, which allows full shuffling, takes a second,
and needs little memory relative to the model. Larger ones stay on disk."""


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
    """Read harvested activations; every tenth context is in the test set.

    Args:
        path: the folder.
        at: one or more layers, by name or pattern; may be left out if there is only one.
        layout: `rows`, each token of one layer is an example, (D,); `stack`, several layers stacked, (L, D);
            `pool`, the tokens of several layers as rows, with the layer as label; `contexts`, whole contexts,
            (T, D). `auto` is rows for one layer and stack for several.
        target: the layer or layers to predict, if they are not the input (transcoders).
        second: another harvest folder of the same text (another model): stacked with the first, or, with
            layout=rows, its layer is the target.
        second_at: its layers; by default those of `at`.
        partial: use the available part of an unfinished or damaged harvest.
        order: how rows are shuffled on disk: `blocks` (best mixed) or `units`, the order of training on the fly.
        mapped: leave the activations on disk; by default only if they are large.
        verify: compare checksums first; by default unless the folder is large.
    """
    choice("layout", layout, LAYOUTS), choice("order", order, ORDERS)
    harvest = Harvest(path, partial, verify)
    names = harvest.layers("at", at)
    layout = layout if layout != "auto" else "stack" if len(names) > 1 or second else "rows"
    if layout in ("rows", "contexts") and len(names) > 1:
        raise refuse(
            "at",
            names,
            f"one layer with ``layout={layout!r}``",
            "Use ``layout='stack'`` or ``layout='pool'``.",
        )
    by_unit = order == "units" or harvest.manifest.live
    plan = _Plan(harvest, names, layout, by_unit)
    if second is not None:
        plan.beside(Harvest(Path(second).expanduser(), partial, verify), second_at, target)
    elif second_at is not None:
        raise refuse("second_at", second_at, "left out without ``second``")
    elif target is not None:
        plan.produce(harvest, harvest.layers("target", target))
    size = plan.nbytes()
    stays = by_unit or (size > _IN_MEMORY if mapped is None else mapped)
    return plan.raw(stays)


class _Plan:
    """The regions of the examples, the target and the columns."""

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
        self.produced: tuple[str, ...] = ()
        gradients = tuple(harvest.manifest.header.get("gradients", ()))
        self.columns: dict[str, list[list[Region]]] = {}
        if set(names) <= set(gradients):
            self.columns["gradients"] = self._regions(harvest, tuple(f"{name}.grad" for name in names))
        if all("tokens" in table for table in harvest.tables):
            self.columns["tokens"] = [self._parts([harvest.regions("tokens")] * self.group)]

    def _regions(self, harvest: Harvest, names: tuple[str, ...]) -> list[list[Region]]:
        """The regions of all parts, for each stacked layer, as `ActivationRows` expects."""
        flat = self.layout in ("stack", "pool") or len(names) > 1
        found = [harvest.regions(name, flat) for name in names]
        widths = {regions[0].shape[1:] for regions in found}
        if len(widths) > 1:
            listed = ", ".join(
                f"{name} {regions[0].shape[1:]}" for name, regions in zip(names, found, strict=True)
            )
            raise refuse(
                "at", names, f"layers of one width with ``layout={self.layout!r}``", f"They are: {listed}."
            )
        return [self._parts(found)] if self.layout == "pool" else [self._parts([one]) for one in found]

    def _parts(self, layers: list[list[Region]]) -> list[Region]:
        """The parts of the index in order: the layers of a shard consecutively; contexts as rows."""
        parts = [region for of_shard in zip(*layers, strict=True) for region in of_shard]
        if not self.length:
            return parts
        return [r.shaped((r.shape[0] // self.length, self.length, *r.shape[1:])) for r in parts]

    def beside(
        self, other: Harvest, at: str | Sequence[str] | None, target: str | Sequence[str] | None
    ) -> None:
        """Add another model's activations of the same tokens, to the stack or as the target."""
        _same_text(self.harvest, other)
        if at is None:
            at = None if len(other.shapes) == 1 else self.names
        if self.layout == "rows":
            self.produce(other, other.layers("target", target) if target else other.layers("second_at", at))
            return
        if self.layout != "stack" or target is not None:
            raise refuse("second", str(other.folder), "given with ``layout='stack'`` or ``layout='rows'``")
        names = other.layers("second_at", at)
        more = self._regions(other, names)
        one, two = self.x[0][0].shape[1:], more[0][0].shape[1:]
        if one != two:
            raise refuse(
                "second",
                str(other.folder),
                f"activations of the same width to be stacked ({one}, not {two})",
                "With ``layout='rows'`` the second model's layer is the target, of any width.",
            )
        self.x += more
        self.columns.pop("gradients", None)

    def produce(self, harvest: Harvest, names: tuple[str, ...]) -> None:
        """Set other layers as the target."""
        if self.layout == "pool":
            raise refuse("target", names, "left out with ``layout='pool'``")
        self.target = self._regions(harvest, names)
        self.produced = names if harvest is self.harvest else ()

    def nbytes(self) -> int:
        """The size in memory, in bytes."""
        both = len(self.division.train) + len(self.division.test)
        stores = [self.x, *([self.target] if self.target else []), *self.columns.values()]
        return both * sum(self._stored(Index([], [], []), regions).row_bytes for regions in stores)

    def _stored(self, index: Index, regions: list[list[Region]]) -> ActivationRows:
        alike = (self.x, self.columns.get("gradients"))
        stacked = len(regions) > 1 or (self.layout == "stack" and any(regions is one for one in alike))
        return ActivationRows(index, regions, stacked, self.group, self.by_unit)

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
        provenance = Provenance(
            harvest.manifest,
            self.names,
            index,
            harvest.metadata,
            harvest.first_context,
            self.group,
            self.length,
            self.produced,
        )
        return Raw(
            x,
            labels=labels,
            target=None if self.target is None else made(self.target),
            class_names=self.names if pooled else (),
            stores={name: made(regions) for name, regions in self.columns.items()},
            layout="vector" if x.ndim == 2 else "sequence",
            scale="none",
            provenance=provenance,
        )


def _same_text(one: Harvest, two: Harvest) -> None:
    """Check that two harvests have the same tokens, row by row."""
    ids = [[shard.unit for shard in h.manifest.shards] for h in (one, two)]
    same = ids[0] == ids[1] and len(one.tables) == len(two.tables)
    for shard in range(len(one.tables) if same else 0):
        a, b = one.metadata(shard), two.metadata(shard)
        both = [name for name in METADATA if name in a or name in b]
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
            "second",
            str(two.folder),
            f"a harvest with the same shards as {one.folder}",
            f"{REPAIR} for both.",
        )
