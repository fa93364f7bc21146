"""Statistics of latents from one pass over data, with bounded memory: counts, top examples, random examples."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from narrows.core import Sparse
from narrows.kernels.metrics import code_count, firings

__all__ = [
    "BINS",
    "FINEST",
    "Counts",
    "Entries",
    "TopEntries",
    "entries",
    "peaks",
    "random_priority",
    "stretches",
]

_PARTS, _PIECES = 32, 8
"""Counts are kept for at most twice this many stretches of the data; codes that are added at once are several."""

BINS, FINEST = 48, -14.0
"""Bins of the histogram of activations: half octaves from 2^-14 on; the outermost bins are open."""


@dataclass(frozen=True)
class Entries:
    """The non-zero entries of some codes.

    Args:
        latent: the latent of each entry, (E,).
        row: the row number of its example, (E,).
        value: its signed value, (E,).
    """

    latent: Tensor
    row: Tensor
    value: Tensor

    def __getitem__(self, chosen: Tensor) -> Entries:
        return Entries(self.latent[chosen], self.row[chosen], self.value[chosen])


def entries(z: Tensor | Sparse, first: int = 0) -> Entries:
    """The entries of codes (B, N) whose rows count from `first`.

    Example:
        >>> entries(torch.tensor([[0.0, 2.0], [-1.0, 0.0]]), first=10).row
        tensor([10, 11])
    """
    values = z.values if isinstance(z, Sparse) else z
    row, column = (values != 0).nonzero(as_tuple=True)
    latent = z.indices[row, column] if isinstance(z, Sparse) else column
    return Entries(latent.cpu(), row.cpu() + first, values[row, column].detach().float().cpu())


def peaks(found: Entries, group: Tensor) -> Entries:
    """The entry with the largest absolute value for each latent and group (such as a context).

    Args:
        found: entries.
        group: the group of each, (E,).
    """
    order = found.value.abs().argsort(descending=True, stable=True)
    for key in (group, found.latent):
        order = order[key[order].argsort(stable=True)]
    latent, group = found.latent[order], group[order]
    new = torch.ones(len(order), dtype=torch.bool)
    new[1:] = (latent[1:] != latent[:-1]) | (group[1:] != group[:-1])
    return found[order[new]]


def random_priority(found: Entries, seed: int) -> Tensor:
    """A pseudorandom number from 0 to 1 for each entry, a hash of its latent, its row and the seed, (E,)."""
    mixed = found.row * 0x9E3779B1 + found.latent * 0x85EBCA77 + (seed + 1) * 0xC2B2AE3D
    for shift, factor in ((15, 0x2C1B3C6D), (12, 0x297A2D39), (15, 1)):
        mixed = ((mixed ^ (mixed >> shift)) * factor) & 0x7FFFFFFF
    return mixed.double() / 0x80000000


def stretches(z: Tensor | Sparse) -> tuple[Tensor, Tensor]:
    """How often each latent is on in stretches of codes (B, ..., N), (P, N), and their numbers of codes, (P,).

    Example:
        >>> stretches(torch.tensor([[1.0, 0.0], [2.0, 3.0]]))
        (tensor([[1, 0],
                [1, 1]]), tensor([1, 1]))
    """
    if isinstance(z, Sparse):
        pairs = zip(z.indices.tensor_split(_PARTS), z.values.tensor_split(_PARTS), strict=True)
        parts: list[Tensor | Sparse] = [Sparse(i, v, z.width) for i, v in pairs if len(v)]
    else:
        parts = [part for part in z.tensor_split(_PARTS) if len(part)]
    return torch.stack([firings(part) for part in parts]), torch.tensor([code_count(part) for part in parts])


class Counts:
    """How often each latent is on, sums and maxima of its activations, and their histogram.

    Args:
        width: N, the number of latents.
    """

    def __init__(self, width: int) -> None:
        self.codes = 0
        self.fires = torch.zeros(width, dtype=torch.int64)
        self._parts: list[tuple[Tensor, int]] = []
        self._each, self._filled = 1, 1  # pieces of each part, and of the last one
        self.total, self.square, self.largest = (torch.zeros(width, dtype=torch.double) for _ in range(3))
        self.bins = torch.zeros(width, BINS, dtype=torch.int32)

    def add(self, found: Entries, codes: int, first: int = 0) -> None:
        """Add the entries of some codes, whose rows count from `first`."""
        size, one = found.value.double().abs(), torch.ones_like(found.latent)
        self.codes += codes
        pieces, width = min(_PIECES, codes), len(self.fires)
        sizes = torch.bincount(torch.arange(codes) * pieces // codes, minlength=pieces)
        at = (found.row - first) * pieces // codes * width + found.latent
        fires = torch.bincount(at, minlength=pieces * width).view(pieces, width)
        self.fires += fires.sum(0)
        for some, count in zip(fires.to(torch.int32), sizes.tolist(), strict=True):
            self._stretch(some, count)
        self.total.index_add_(0, found.latent, size)
        self.square.index_add_(0, found.latent, size.square())
        self.largest.scatter_reduce_(0, found.latent, size, "amax")
        octave = ((size.log2() - FINEST) * 2).floor().clamp(0, BINS - 1).long()
        flat = self.bins.view(-1)
        flat.index_add_(0, found.latent * BINS + octave, one.to(torch.int32))

    def _stretch(self, fires: Tensor, codes: int) -> None:
        """Add counts to the last stretch, or begin another."""
        if self._filled < self._each:
            before, n = self._parts.pop()
            fires, codes = before + fires, n + codes
        else:
            self._filled = 0
        self._parts.append((fires, codes))
        self._filled += 1
        if len(self._parts) == 2 * _PARTS and self._filled == self._each:
            pairs = zip(self._parts[::2], self._parts[1::2], strict=True)  # neighbours become one
            self._parts = [(a + b, n + m) for (a, n), (b, m) in pairs]
            self._each, self._filled = 2 * self._each, 2 * self._each

    @property
    def parts(self) -> tuple[Tensor, Tensor]:
        """How often each latent is on in stretches of the data, (P, N), and their numbers of codes, (P,)."""
        return torch.stack([fires for fires, _ in self._parts]), torch.tensor([n for _, n in self._parts])

    @property
    def density(self) -> Tensor:
        """The share of codes in which each latent is on, (N,) float64."""
        return self.fires.double() / max(1, self.codes)


class TopEntries:
    """For each latent the entries of highest priority, in order.

    Args:
        width: N, the number of latents.
        keep: K, how many entries of each are kept.

    Example:
        >>> best = TopEntries(2, keep=1)
        >>> found = Entries(torch.tensor([0, 0]), torch.tensor([7, 8]), torch.tensor([1.0, -3.0]))
        >>> best.add(found, found.value.abs())
        >>> best.row.tolist(), best.value.tolist()
        ([[8], [-1]], [[-3.0], [0.0]])
    """

    def __init__(self, width: int, keep: int) -> None:
        self.keep = keep
        self.priority = torch.full((width, keep), -torch.inf, dtype=torch.double)
        self.row = torch.full((width, keep), -1, dtype=torch.int64)
        self.value = torch.zeros(width, keep)

    def add(self, found: Entries, priority: Tensor) -> None:
        """Add entries with their priorities, (E,); of equal priorities the first is kept."""
        better = priority > self.priority[found.latent, -1]
        found, priority = found[better], priority[better].double()
        if not len(priority):
            return
        touched = found.latent.unique()
        latent = torch.cat([touched.repeat_interleave(self.keep), found.latent])
        priority = torch.cat([self.priority[touched].flatten(), priority])
        row = torch.cat([self.row[touched].flatten(), found.row])
        value = torch.cat([self.value[touched].flatten(), found.value])
        order = priority.argsort(descending=True, stable=True)
        order = order[latent[order].argsort(stable=True)]
        latent = latent[order]
        starts = torch.searchsorted(latent, touched)
        rank = torch.arange(len(latent)) - starts[torch.searchsorted(touched, latent)]
        chosen = rank < self.keep
        at = (latent[chosen], rank[chosen])
        self.priority[at] = priority[order][chosen]
        self.row[at], self.value[at] = row[order][chosen], value[order][chosen]
