"""`Provenance`: where each row of a harvest came from: its token, its place, the whole context, the model."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from narrows.activations.manifest import Manifest
from narrows.activations.rows import Index
from narrows.core.check import RequestError

__all__ = ["Places", "Provenance"]

Places = dict[str, Tensor]
"""The small tensors of a shard: `positions`, `context_rows` and, of text, `tokens`, `context_tokens`, ..."""

_KEPT = 64


class Provenance:
    """Says of the rows of a `Dataset` where they came from.

    Args:
        manifest: of the harvest.
        at: the layers that the rows hold.
        index: which rows of which shards they are; whole contexts where `length` is given.
        places: gives the small tensors of a shard by its number in the manifest.
        first_context: the number of each shard's first context, counted over the whole harvest, (shards,).
        group: how many parts of the index belong to one shard (pooled layers).
        length: how many rows an example has, where examples are whole contexts; else 0.
        target: the layers of the same model that must be produced, where they are not the rows' own.
    """

    def __init__(
        self,
        manifest: Manifest,
        at: tuple[str, ...],
        index: Index,
        places: Callable[[int], Places],
        first_context: np.ndarray,
        group: int = 1,
        length: int = 0,
        target: tuple[str, ...] = (),
    ) -> None:
        self.manifest, self.at, self.index = manifest, at, index
        self.places, self.first_context, self.group, self.length = places, first_context, group, length
        self.target = target

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, rows: slice | Tensor | np.ndarray) -> Provenance:
        return Provenance(
            self.manifest,
            self.at,
            self.index.picked(rows),
            self.places,
            self.first_context,
            self.group,
            self.length,
            self.target,
        )

    @property
    def folder(self) -> Path:
        """The harvest folder."""
        return self.manifest.folder

    @property
    def model(self) -> str:
        """The name of the model."""
        return self.manifest.model

    def tokens(self, rows: slice | Tensor) -> Tensor:
        """The token ids of some rows, (B,) int64, or (B, T) where examples are contexts.

        Raises:
            RequestError: the harvest was not made from text.
        """
        return self._gather(rows, "tokens")

    def positions(self, rows: slice | Tensor) -> Tensor:
        """The places of some rows in their contexts, (B,) int64, or (B, T)."""
        return self._gather(rows, "positions")

    def contexts(self, rows: slice | Tensor) -> Tensor:
        """The number of each row's context, counted over the whole harvest, (B,) int64."""
        shard, row = self._located(rows)
        numbers = np.empty(len(row), np.int64)
        for s in np.unique(shard):
            here = shard == s
            numbers[here] = self.first_context[s] + self._context(int(s), row[here])
        return torch.from_numpy(numbers)

    def context_of(self, row: int) -> tuple[Tensor, int]:
        """The token ids of a row's whole context, (T,) int64, and the row's place in it (the first kept one's).

        Raises:
            RequestError: the harvest was not made from text.
        """
        shards, rows = self._located(torch.tensor([row]))
        shard, within = int(shards[0]), int(rows[0])
        number = int(self._context(shard, rows)[0])
        sizes = self._place(shard, "context_sizes").long()
        start = int(sizes[:number].sum())
        ids = self._place(shard, "context_tokens")[start : start + int(sizes[number])]
        return ids.long(), int(self._place(shard, "positions")[within * max(1, self.length)])

    def _located(self, rows: slice | Tensor) -> tuple[np.ndarray, np.ndarray]:
        """The shard of each row, and the row (or the context, where examples are contexts) in it."""
        if isinstance(rows, slice):
            rows = torch.arange(*rows.indices(len(self)))
        part, row = self.index.locate(rows.cpu().numpy())
        return part // self.group, row

    def _context(self, shard: int, row: np.ndarray) -> np.ndarray:
        if self.length:
            return row
        ends = self._place(shard, "context_rows").long().cumsum(0).numpy()
        return np.searchsorted(ends, row, side="right")

    def _gather(self, rows: slice | Tensor, name: str) -> Tensor:
        shard, row = self._located(rows)
        within = row[:, None] * self.length + np.arange(self.length) if self.length else row
        out = torch.empty(within.shape, dtype=torch.int64)
        for s in np.unique(shard):
            here = shard == s
            out[torch.from_numpy(here)] = self._place(int(s), name)[torch.from_numpy(within[here])].long()
        return out

    def _place(self, shard: int, name: str) -> Tensor:
        found = self.places(shard)
        if name not in found:
            raise RequestError(f"The harvest {self.folder} was not made from text: it holds no `{name}`.")
        return found[name]


def remembered(read: Callable[[int], Places]) -> Callable[[int], Places]:
    """The same function, which keeps the places of the shards that were asked for last."""
    return lru_cache(maxsize=_KEPT)(read)
