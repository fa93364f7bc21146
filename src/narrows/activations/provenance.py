"""`Provenance`: the token, position, context and model of each row of a harvest."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from narrows.activations.manifest import Manifest
from narrows.activations.rows import Index
from narrows.core.check import RequestError

__all__ = ["FACTS", "Metadata", "Provenance"]

Metadata = dict[str, Tensor]
"""Tensors that describe a shard's rows: `positions`, `context_rows` and, of text, `tokens`, `context_tokens`, ..."""

_KEPT = 64

FACTS = ("model", "places", "target_places", "tokenizer")
"""What a description of data says of the harvest that they are from: `Provenance.facts`."""


class Provenance:
    """Where the rows of a `Dataset` come from.

    Args:
        manifest: of the harvest.
        at: the layers of the rows.
        index: the rows of the shards; whole contexts if `length` is not 0.
        metadata: gives the tensors that describe the rows of a shard, by its number in the manifest.
        first_context: the number of each shard's first context, counted over the whole harvest, (shards,).
        group: how many parts of the index belong to one shard (pooled layers).
        length: the number of rows of an example if examples are whole contexts, else 0.
        target: the layers of the target, if the target is not the rows themselves.
    """

    def __init__(
        self,
        manifest: Manifest,
        at: tuple[str, ...],
        index: Index,
        metadata: Callable[[int], Metadata],
        first_context: np.ndarray,
        group: int = 1,
        length: int = 0,
        target: tuple[str, ...] = (),
    ) -> None:
        self.manifest, self.at, self.index = manifest, at, index
        self.metadata, self.first_context, self.group, self.length = metadata, first_context, group, length
        self.target = target

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, rows: slice | Tensor | np.ndarray) -> Provenance:
        return Provenance(
            self.manifest,
            self.at,
            self.index.select(rows),
            self.metadata,
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

    def facts(self) -> dict[str, Any]:
        """The model, the hook points and the tokenizer, by the names of `FACTS`, as far as they are known."""
        found = {
            "model": self.model,
            "places": list(self.at),
            "target_places": list(self.target),
            "tokenizer": self.manifest.header["model"].get("tokenizer", ""),
        }
        return {name: value for name, value in found.items() if value}

    def tokens(self, rows: slice | Tensor) -> Tensor:
        """The token ids of some rows, (B,) int64, or (B, T) if examples are contexts.

        Raises:
            RequestError: the harvest was not made from text.
        """
        return self._gather(rows, "tokens")

    def positions(self, rows: slice | Tensor) -> Tensor:
        """The positions of some rows in their contexts, (B,) int64, or (B, T)."""
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
        """The token ids of a row's whole context, (T,) int64, and the row's position in it (the first one kept).

        Raises:
            RequestError: the harvest was not made from text.
        """
        shards, rows = self._located(torch.tensor([row]))
        shard, within = int(shards[0]), int(rows[0])
        number = int(self._context(shard, rows)[0])
        sizes = self._metadata(shard, "context_sizes").long()
        start = int(sizes[:number].sum())
        ids = self._metadata(shard, "context_tokens")[start : start + int(sizes[number])]
        return ids.long(), int(self._metadata(shard, "positions")[within * max(1, self.length)])

    def _located(self, rows: slice | Tensor) -> tuple[np.ndarray, np.ndarray]:
        """The shard of each row, and the row (or the context, if examples are contexts) in it."""
        if isinstance(rows, slice):
            rows = torch.arange(*rows.indices(len(self)))
        part, row = self.index.locate(rows.cpu().numpy())
        return part // self.group, row

    def _context(self, shard: int, row: np.ndarray) -> np.ndarray:
        if self.length:
            return row
        ends = self._metadata(shard, "context_rows").long().cumsum(0).numpy()
        return np.searchsorted(ends, row, side="right")

    def _gather(self, rows: slice | Tensor, name: str) -> Tensor:
        shard, row = self._located(rows)
        within = row[:, None] * self.length + np.arange(self.length) if self.length else row
        out = torch.empty(within.shape, dtype=torch.int64)
        for s in np.unique(shard):
            here = shard == s
            out[torch.from_numpy(here)] = self._metadata(int(s), name)[torch.from_numpy(within[here])].long()
        return out

    def _metadata(self, shard: int, name: str) -> Tensor:
        found = self.metadata(shard)
        if name not in found:
            raise RequestError(f"The harvest {self.folder} was not made from text: it has no `{name}`.")
        return found[name]


def remembered(read: Callable[[int], Metadata]) -> Callable[[int], Metadata]:
    """The same function with a cache of the shards used last."""
    return lru_cache(maxsize=_KEPT)(read)
