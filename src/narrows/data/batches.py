"""`BatchReader`: the batch of any step, determined by the seed and the step."""

from __future__ import annotations

from collections.abc import Sized
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from narrows.core import Batch, cat_padded
from narrows.core.check import refuse, whole
from narrows.data.dataset import Dataset, Examples
from narrows.data.mapped import Rows, fill_rows, new_rows
from narrows.data.stores import Once, Ragged

__all__ = ["BatchReader", "some_rows"]

_ON_DEVICE = 4 << 30
"""Stores up to this size (bytes) are moved to the device once, instead of batch by batch."""


class BatchReader:
    """Batches in a random order, drawn for each epoch from (seed, epoch) only.

    The batch of a step does not depend on previous steps, so a run resumed at any step gets the same batches as
    an uninterrupted run. The last batch of an epoch is dropped if it is incomplete, unless it is the only one.

    Args:
        dataset: the data.
        batch_size: examples per step, over all processes.
        seed: seed of the order.
        conditions: names of the conditions, see `Dataset.batch`.
        device: device of the batches.
        rank: rank of this process.
        world_size: the number of processes; process r gets rows r, r + world_size, ... of each batch.

    Example:
        >>> from narrows.data.scaling import Scaling
        >>> feed = BatchReader(Dataset(torch.arange(5.0).reshape(5, 1), Scaling(), (1,)), batch_size=2, seed=0)
        >>> feed.steps_per_epoch, feed.at(7).x.shape
        (2, torch.Size([2, 1]))
    """

    def __init__(
        self,
        dataset: Examples,
        batch_size: int,
        seed: int = 0,
        conditions: tuple[str, ...] = (),
        device: str | torch.device = "cpu",
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if not len(dataset):
            raise refuse("dataset", "0 examples", "data with at least one example")
        self.batch_size = min(whole("batch_size", batch_size), len(dataset))
        self.rank, self.world_size = whole("rank", rank, low=0), whole("world_size", world_size)
        if self.batch_size < self.world_size:
            raise refuse("batch_size", batch_size, f"at least 1 example for each of {world_size} processes")
        self.seed, self.conditions = whole("seed", seed, low=0), tuple(conditions)
        self.device = torch.device(device)
        self.steps_per_epoch = len(dataset) // self.batch_size
        self._reader: _Reader
        if isinstance(dataset, Dataset) and dataset.mapped:
            self._reader = _Blocks(dataset, self.seed, self.conditions)
        else:
            if isinstance(dataset, Dataset) and as_bytes(dataset) <= _ON_DEVICE:
                dataset = dataset.to(self.device)
            self._reader = _Memory(dataset, self.seed)

    def at(self, step: int) -> Batch:
        """The batch of a step, numbered from 0 over all epochs."""
        return self._reader.read(*self._places(step), self.conditions, self.device)

    def rows(self, step: int) -> Tensor:
        """The row indices of that batch, (B,)."""
        return self._reader.rows(*self._places(step))

    def _places(self, step: int) -> tuple[int, slice]:
        epoch, within = divmod(step, self.steps_per_epoch)
        first = within * self.batch_size
        return epoch, slice(first + self.rank, first + self.batch_size, self.world_size)


def some_rows(examples: Sized, n: int, seed: int) -> Tensor:
    """Indices of at most n rows without replacement, sorted; from few shards if each is read as a whole.

    Args:
        examples: a `Dataset`, or anything with a length.
        n: maximum number of rows.
        seed: seed of the draw.

    Example:
        >>> some_rows(range(10), 3, 0)
        tensor([1, 4, 7])
    """
    generator = torch.Generator().manual_seed(seed)
    blocks = examples.blocks if isinstance(examples, Dataset) else None
    if blocks is None:
        return torch.randperm(len(examples), generator=generator)[:n].sort().values
    sizes = torch.from_numpy(blocks)
    starts = sizes.cumsum(0) - sizes
    chosen = torch.randperm(len(sizes), generator=generator)
    enough = int((sizes[chosen].cumsum(0) < n).sum()) + 1
    rows = torch.cat([starts[b] + torch.arange(int(sizes[b])) for b in chosen[:enough]])
    return rows[torch.randperm(len(rows), generator=generator)[:n]].sort().values


class _Reader(Protocol):
    def read(self, epoch: int, places: slice, conditions: tuple[str, ...], device: torch.device) -> Batch: ...

    def rows(self, epoch: int, places: slice) -> Tensor: ...


def as_bytes(dataset: Dataset) -> int:
    """The size in bytes of the store of a data set."""
    return int(dataset.x.nbytes)


def order(seed: int, epoch: int, n: int, *more: int) -> np.ndarray:
    """A permutation of n rows, determined by (seed, epoch, ...).

    Example:
        >>> bool((order(0, 1, 5) == order(0, 1, 5)).all())
        True
    """
    return np.random.default_rng((seed, epoch, *more)).permutation(n)


class _Memory:
    """Rows in memory, or of a user-defined source: all permutations have the same cost."""

    def __init__(self, dataset: Examples, seed: int) -> None:
        self.dataset, self.seed = dataset, seed
        self.epoch, self.order = -1, torch.empty(0)

    def read(self, epoch: int, places: slice, conditions: tuple[str, ...], device: torch.device) -> Batch:
        return self.dataset.batch(self.rows(epoch, places), conditions, device)

    def rows(self, epoch: int, places: slice) -> Tensor:
        if epoch != self.epoch:
            store = self.dataset.x if isinstance(self.dataset, Dataset) else None
            where = store.device if isinstance(store, Tensor) else "cpu"
            self.order = torch.from_numpy(order(self.seed, epoch, len(self.dataset))).to(where)
            self.epoch = epoch
        return self.order[places]


class _Window(NamedTuple):
    """Some blocks in memory, the order in which their rows are used, and their buffers."""

    data: Dataset
    order: Tensor
    memory: dict[str, Tensor]


class _Blocks:
    """Rows on disk: blocks of consecutive rows are shuffled, then the rows within a window of many blocks.

    A window is read block by block while the previous one is in use; at most two windows are in memory.
    """

    block_bytes = 1 << 20
    window_bytes = 64 << 20
    least = 4
    """If shards are read as a whole, a shard is a block, and a window has at least this many."""

    def __init__(self, dataset: Dataset, seed: int, conditions: tuple[str, ...] = ()) -> None:
        self.dataset, self.seed, self.conditions = dataset, seed, conditions
        dataset.condition(slice(0, 0), conditions)  # raises if the data lack a condition
        n, row = len(dataset), max(1, as_bytes(dataset) // len(dataset))
        sizes = dataset.blocks
        if sizes is None:
            block = max(1, min(self.block_bytes // row, -(-n // 16)))
            self.sizes = np.diff(np.append(np.arange(0, n, block), n))
            self.per_window = max(1, self.window_bytes // (row * block))
        else:
            self.sizes = sizes
            self.per_window = max(self.least, self.window_bytes * len(sizes) // (row * n))
        self.starts = np.cumsum(self.sizes) - self.sizes
        self.pool = ThreadPoolExecutor(1, "narrows-feed")
        self.plan: tuple[int, np.ndarray, np.ndarray] = (-1, self.sizes, self.sizes)
        self.most = int(np.sort(self.sizes)[-self.per_window :].sum())  # rows of a window
        self.windows: dict[tuple[int, int], Future[_Window]] = {}
        self.spare: list[dict[str, Tensor]] = []

    def read(self, epoch: int, places: slice, conditions: tuple[str, ...], device: torch.device) -> Batch:
        _, starts = self.planned(epoch)
        wanted = np.arange(places.start, places.stop, places.step)
        of = np.searchsorted(starts, wanted, side="right") - 1
        parts = []
        for w in range(of[0], of[-1] + 1):
            window = self.window(epoch, w).result()
            rows = window.order[torch.from_numpy(wanted[of == w] - starts[w])]
            parts.append(window.data.batch(rows, conditions, device))
        last = int(of[-1])
        ahead = (epoch, last + 1) if last + 1 < len(starts) else (epoch + 1, 0)
        self.retire({(epoch, last), ahead})
        self.window(*ahead)
        return parts[0] if len(parts) == 1 else _join(parts)

    def rows(self, epoch: int, places: slice) -> Tensor:
        _, starts = self.planned(epoch)
        wanted = np.arange(places.start, places.stop, places.step)
        of = np.searchsorted(starts, wanted, side="right") - 1
        found = []
        for w in range(of[0], of[-1] + 1):
            chosen = self.plan[1][w * self.per_window : (w + 1) * self.per_window]
            held = np.concatenate([self.starts[b] + np.arange(self.sizes[b]) for b in chosen])
            found.append(held[order(self.seed, epoch, len(held), w)[wanted[of == w] - starts[w]]])
        return torch.from_numpy(np.concatenate(found))

    def retire(self, needed: set[tuple[int, int]]) -> None:
        """Release finished windows; their buffers are reused, which is faster than allocating new ones."""
        for key in set(self.windows) - needed:
            window = self.windows.pop(key)
            if window.done() and not window.exception() and not self.spare:
                self.spare.append(window.result().memory)

    def planned(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """The order of blocks in an epoch, and the start position of each window."""
        if self.plan[0] != epoch:
            blocks = order(self.seed, epoch, len(self.sizes))
            places = np.append(0, np.cumsum(self.sizes[blocks])[:-1])
            self.plan = (epoch, blocks, places[:: self.per_window])
        return self.plan[1:]

    def window(self, epoch: int, w: int) -> Future[_Window]:
        """A window, submitted to the reader thread unless it is already pending."""
        if (epoch, w) not in self.windows:
            blocks = order(self.seed, epoch, len(self.sizes)) if self.plan[0] != epoch else self.plan[1]
            chosen = blocks[w * self.per_window : (w + 1) * self.per_window]
            self.windows[epoch, w] = self.pool.submit(self.load, epoch, w, chosen)
        return self.windows[epoch, w]

    def load(self, epoch: int, w: int, blocks: np.ndarray) -> _Window:
        """Some blocks in memory, and the order in which their rows are used."""
        cuts = [slice(int(self.starts[b]), int(self.starts[b] + self.sizes[b])) for b in blocks]
        rows = sum(cut.stop - cut.start for cut in cuts)
        data = self.dataset
        stores = {
            "x": data.x,
            "target": data.target,
            "weight": data.weight,
            "labels": data.labels if "labels" in self.conditions else None,
        }
        told = {*self.conditions, *data.always}
        stores |= {f"columns/{n}": store for n, store in data.columns.items() if n in told}
        present: dict[str, Rows] = {}
        for name, store in stores.items():
            if isinstance(store, (Ragged, Once)):
                raise refuse(name, type(store).__name__, "rows of one length, as x is mapped from a file")
            if store is not None:
                present[name] = store
        memory = self.spare.pop() if self.spare else {n: new_rows(s, self.most) for n, s in present.items()}
        ready = {name: out[:rows] for name, out in memory.items()}
        filled = 0
        for cut in cuts:  # all stores of a block together, so that computed rows are computed once
            until = filled + cut.stop - cut.start
            for name, out in ready.items():
                fill_rows(out[filled:until], present[name], cut)
            filled = until
        window = replace(
            data,
            x=ready["x"],
            target=ready.get("target"),
            weight=ready.get("weight"),
            labels=ready.get("labels"),
            factors=None,
            columns={n: ready[f"columns/{n}"] for n in data.columns if f"columns/{n}" in ready},
            provenance=None,
        )
        return _Window(window, torch.from_numpy(order(self.seed, epoch, rows, w)), memory)


def _join(batches: list[Batch]) -> Batch:
    """Concatenate batches; shorter rows are padded to the longest."""

    def cat(parts: list[Any]) -> Any:
        if not isinstance(parts[0], Tensor):
            return None
        return cat_padded(parts)

    first = batches[0]
    return Batch(
        cat([b.x for b in batches]),
        None if first.target is first.x else cat([b.target for b in batches]),
        {name: cat([b.condition[name] for b in batches]) for name in first.condition},
        cat([b.weight for b in batches]),
    )
