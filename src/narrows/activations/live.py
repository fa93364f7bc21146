"""Training while harvesting: the shards of a harvest that are computed when they are read, and never written."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from threading import RLock
from typing import Protocol

import torch
from torch import Tensor

from narrows.activations.manifest import Manifest
from narrows.activations.recompute import check_layers, compute_unit, work_of
from narrows.activations.rows import Region
from narrows.activations.shards import PLACES
from narrows.activations.units import layout
from narrows.core.check import RequestError, whole
from narrows.core.tensorfile import dtype_named

__all__ = ["Computed", "FromModel", "Units", "Worker", "live_tables"]

_KEPT = 2


class Worker(Protocol):
    """Runs a model over the contexts of a harvest, a unit at a time."""

    def places(self, unit: int) -> Mapping[str, Tensor]:
        """The small tensors of a unit (see `narrows.activations.shards`), without running the model."""

    def compute(self, unit: int) -> Mapping[str, Tensor]:
        """The activations of a unit by layer, and gradients where they are harvested."""


class Units:
    """The units of a harvest as they are needed; the two that were asked for last are kept.

    The model may be asked by the thread that reads ahead and by the one that trains: one of them waits.

    Args:
        worker: computes them.
        manifest: of the harvest; its header says in which type activations are stored, so that a row is the same
            to the last bit as if it had been on disk.
    """

    def __init__(self, worker: Worker, manifest: Manifest) -> None:
        self.worker, self.manifest = worker, manifest
        self.computed = 0
        self._kept: OrderedDict[int, dict[str, Tensor]] = OrderedDict()
        self._lock = RLock()

    def __call__(self, unit: int) -> dict[str, Tensor]:
        """The activations of a unit."""
        with self._lock:
            if unit not in self._kept:
                while len(self._kept) >= _KEPT:
                    self._kept.popitem(last=False)
                found = self.worker.compute(unit)
                self._kept[unit] = {name: self._stored(name, t) for name, t in found.items()}
                self.computed += 1
            self._kept.move_to_end(unit)
            return self._kept[unit]

    def places(self, unit: int) -> Mapping[str, Tensor]:
        """The small tensors of a unit."""
        with self._lock:
            return self.worker.places(unit)

    def _stored(self, name: str, x: Tensor) -> Tensor:
        layer = self.manifest.shapes.get(name) or self.manifest.shapes[name.removesuffix(".grad")]
        return x.detach().to("cpu", dtype_named(layer.dtype))


class Computed:
    """One tensor of one unit: a region of `ActivationRows` rows that is computed when it is read.

    Args:
        units: computes it.
        unit: which.
        name: of the tensor.
        dtype: of its numbers.
        shape: (rows, ...), known beforehand.
    """

    def __init__(
        self,
        units: Units,
        unit: int,
        name: str,
        dtype: torch.dtype,
        shape: tuple[int, ...],
        place: bool = False,
    ) -> None:
        self.units, self.unit, self.name = units, unit, name
        self.dtype, self.shape, self.place = dtype, shape, place

    def shaped(self, shape: tuple[int, ...]) -> Computed:
        """The same numbers with another shape of a row."""
        return Computed(self.units, self.unit, self.name, self.dtype, shape, self.place)

    def read(self, first: int = 0, last: int | None = None) -> Tensor:
        """Rows in memory of their own."""
        return self._all()[first:last].clone()

    def fill_runs(self, out: Tensor, runs: Iterable[tuple[int, int]]) -> None:
        """Runs of rows, (first, count) each, one after another into a tensor of the same type."""
        torch.cat([self._all()[first : first + count] for first, count in runs], out=out)

    def _all(self) -> Tensor:
        found = (self.units.places if self.place else self.units)(self.unit)[self.name]
        count = 1
        for n in self.shape:
            count *= n
        return found.reshape(-1)[:count].reshape(self.shape)

    def blame(self, row: int) -> str:
        """Where a broken row lies and what mends it."""
        return (
            f"row {row} of `{self.name}` in unit {self.unit}, as {self.units.manifest.model} computes it. "
            "Look at the text there, or harvest in a wider type (bfloat16, float32)."
        )


class FromModel:
    """The worker of a harvest folder: the model that its header names reads the contexts that the folder holds."""

    def __init__(self, manifest: Manifest) -> None:
        self.manifest, self.work = manifest, work_of(manifest.header, manifest.folder)
        units = manifest.header.get("units")
        told = units if isinstance(units, dict) else {}
        self.size = whole("units: contexts", told.get("contexts"), fix="Harvest anew.")
        whole("units: batch", told.get("batch"), fix="Harvest anew.")
        if manifest.units != -(-len(self.work) // self.size):
            raise RequestError(
                f"The manifest of {manifest.folder} speaks of {manifest.units} units of {self.size} contexts, but "
                f"there are {len(self.work)} contexts. Harvest anew."
            )
        check_layers(manifest.header, self.work)

    def places(self, unit: int) -> dict[str, Tensor]:
        """Where the rows of a unit are, and the tokens around them."""
        first, last = unit * self.size, min((unit + 1) * self.size, len(self.work))
        places = layout(self.work, first, last)
        if "context_tokens" in places:
            places["tokens"] = places["context_tokens"][torch.from_numpy(self.work.keep(first, last))]
        return places

    def compute(self, unit: int) -> dict[str, Tensor]:
        """The activations of a unit, computed as the harvest would compute them."""
        found = compute_unit(self.manifest.header, unit, self.manifest.folder)
        return {name: value for name, value in found.items() if name not in PLACES}


def live_tables(manifest: Manifest, worker: Worker | None = None) -> list[Mapping[str, Region]]:
    """The regions of every unit, as `read_table` gives those of a shard on disk.

    Args:
        manifest: of a harvest without shards.
        worker: computes its units; the model itself when None.
    """
    worker = FromModel(manifest) if worker is None else worker
    units = Units(worker, manifest)
    tables: list[Mapping[str, Region]] = []
    gradients: Iterable[str] = manifest.header.get("gradients", ())
    for unit in range(manifest.units):
        places = worker.places(unit)
        rows = len(places["positions"])
        table: dict[str, Region] = {
            name: Computed(units, unit, name, t.dtype, tuple(t.shape), place=True)
            for name, t in places.items()
        }
        for name, layer in manifest.shapes.items():
            table[name] = Computed(units, unit, name, dtype_named(layer.dtype), (rows, *layer.shape))
        for name in gradients:
            layer = manifest.shapes[name]
            shape = (rows, *layer.shape)
            table[f"{name}.grad"] = Computed(units, unit, f"{name}.grad", dtype_named(layer.dtype), shape)
        tables.append(table)
    return tables
