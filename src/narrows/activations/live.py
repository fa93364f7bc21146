"""Activations computed on the fly: shards of a harvest that are computed when they are read and never written."""

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
from narrows.activations.shards import METADATA
from narrows.activations.units import layout
from narrows.core.check import RequestError, whole
from narrows.core.tensorfile import dtype_named

__all__ = ["Computed", "FromModel", "Units", "Worker", "live_tables"]

_KEPT = 2


class Worker(Protocol):
    """Runs a model over the contexts of a harvest, one unit at a time."""

    def metadata(self, unit: int) -> Mapping[str, Tensor]:
        """Positions, tokens and contexts of a unit's rows (see `narrows.activations.shards`), without a model run."""

    def compute(self, unit: int) -> Mapping[str, Tensor]:
        """The activations of a unit by layer, and the gradients if they are harvested."""


class Units:
    """The units of a harvest, computed on demand; the two used last are cached.

    The thread that prefetches and the one that trains may both ask for a unit; a lock lets one wait for the other.

    Args:
        worker: computes the units.
        manifest: of the harvest. Its header names the type in which activations are stored, so that a row is equal,
            bit for bit, to one read from disk.
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

    def metadata(self, unit: int) -> Mapping[str, Tensor]:
        """Positions, tokens and contexts of a unit's rows."""
        with self._lock:
            return self.worker.metadata(unit)

    def _stored(self, name: str, x: Tensor) -> Tensor:
        layer = self.manifest.shapes.get(name) or self.manifest.shapes[name.removesuffix(".grad")]
        return x.detach().to("cpu", dtype_named(layer.dtype))


class Computed:
    """One tensor of one unit: a region of `ActivationRows` rows that is computed when it is read.

    Args:
        units: computes the tensor.
        unit: the number of the unit.
        name: the tensor's name.
        dtype: the tensor's type.
        shape: (rows, ...).
        metadata: whether it describes the rows and needs no run of the model.
    """

    def __init__(
        self,
        units: Units,
        unit: int,
        name: str,
        dtype: torch.dtype,
        shape: tuple[int, ...],
        metadata: bool = False,
    ) -> None:
        self.units, self.unit, self.name = units, unit, name
        self.dtype, self.shape, self.metadata = dtype, shape, metadata

    def shaped(self, shape: tuple[int, ...]) -> Computed:
        """The same values with rows of another shape."""
        return Computed(self.units, self.unit, self.name, self.dtype, shape, self.metadata)

    def read(self, first: int = 0, last: int | None = None) -> Tensor:
        """A copy of some rows."""
        return self._all()[first:last].clone()

    def fill_runs(self, out: Tensor, runs: Iterable[tuple[int, int]]) -> None:
        """Copy runs of rows, (first, count) each, one after another into a tensor of the same type."""
        torch.cat([self._all()[first : first + count] for first, count in runs], out=out)

    def _all(self) -> Tensor:
        found = (self.units.metadata if self.metadata else self.units)(self.unit)[self.name]
        count = 1
        for n in self.shape:
            count *= n
        return found.reshape(-1)[:count].reshape(self.shape)

    def blame(self, row: int) -> str:
        """Which row is not finite, and what to do about it."""
        return (
            f"row {row} of `{self.name}` in unit {self.unit}, as {self.units.manifest.model} computes it. "
            "Look at the text there, or harvest in a wider type (bfloat16, float32)."
        )


class FromModel:
    """Runs the model that a harvest's header names over the contexts of its folder."""

    def __init__(self, manifest: Manifest) -> None:
        self.manifest, self.work = manifest, work_of(manifest.header, manifest.folder)
        units = manifest.header.get("units")
        sizes = units if isinstance(units, dict) else {}
        self.size = whole("units: contexts", sizes.get("contexts"), fix="Harvest again.")
        whole("units: batch", sizes.get("batch"), fix="Harvest again.")
        if manifest.units != -(-len(self.work) // self.size):
            raise RequestError(
                f"The manifest of {manifest.folder} has {manifest.units} units of {self.size} contexts, but "
                f"there are {len(self.work)} contexts. Harvest again."
            )
        check_layers(manifest.header, self.work)

    def metadata(self, unit: int) -> dict[str, Tensor]:
        """Positions, tokens and contexts of a unit's rows."""
        first, last = unit * self.size, min((unit + 1) * self.size, len(self.work))
        metadata = layout(self.work, first, last)
        if "context_tokens" in metadata:
            metadata["tokens"] = metadata["context_tokens"][torch.from_numpy(self.work.keep(first, last))]
        return metadata

    def compute(self, unit: int) -> dict[str, Tensor]:
        """The activations of a unit, computed as in a harvest to disk."""
        found = compute_unit(self.manifest.header, unit, self.manifest.folder)
        return {name: value for name, value in found.items() if name not in METADATA}


def live_tables(manifest: Manifest, worker: Worker | None = None) -> list[Mapping[str, Region]]:
    """The regions of every unit, as `read_table` gives those of a shard on disk.

    Args:
        manifest: of a harvest without shards.
        worker: computes its units; None runs the model itself.
    """
    worker = FromModel(manifest) if worker is None else worker
    units = Units(worker, manifest)
    tables: list[Mapping[str, Region]] = []
    gradients: Iterable[str] = manifest.header.get("gradients", ())
    for unit in range(manifest.units):
        metadata = worker.metadata(unit)
        rows = len(metadata["positions"])
        table: dict[str, Region] = {
            name: Computed(units, unit, name, t.dtype, tuple(t.shape), metadata=True)
            for name, t in metadata.items()
        }
        for name, layer in manifest.shapes.items():
            table[name] = Computed(units, unit, name, dtype_named(layer.dtype), (rows, *layer.shape))
        for name in gradients:
            layer = manifest.shapes[name]
            shape = (rows, *layer.shape)
            table[f"{name}.grad"] = Computed(units, unit, f"{name}.grad", dtype_named(layer.dtype), shape)
        tables.append(table)
    return tables
