"""TopK in each layer, over the latents of the layer's group."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from narrows.bottlenecks.sparse.topk import TopK
from narrows.core import Sparse, Tree
from narrows.core.check import whole
from narrows.core.reference import ModuleReference
from narrows.kernels.sparse import LazyLinear, top
from narrows.nets.dictionaries.dictionary import Dictionary
from narrows.nets.dictionaries.layer_groups import GroupDictionary

__all__ = ["GroupTopK"]


class GroupTopK(TopK):
    """Keep the k largest latents of each layer; indices in the code run over all groups, one after another.

    Pre-activations are (B, L, N), of each layer's own group; the code is (B, L, k) over G N latents. If one
    row is drawn for each group, they are (B, G, N) and (B, G, k).

    Args:
        latents: number of latents of each group, N.
        k: number of active latents of a layer.
        groups: number of groups, G.
    """

    def __init__(self, latents: int, k: int, groups: int) -> None:
        whole("k", k, low=1, high=latents, fix="k cannot exceed ``latents``.")
        super().__init__(latents * groups, k)
        self._groups: ModuleReference[GroupDictionary] | None = None

    def bind(self, dictionary: Dictionary) -> None:
        """Store the dictionary, which defines the groups."""
        assert isinstance(dictionary, GroupDictionary)
        self._groups = ModuleReference(dictionary)

    @property
    def dictionary(self) -> GroupDictionary:
        """The dictionary, which defines the groups."""
        assert self._groups is not None
        return self._groups.module

    def largest(self, pre: Tensor | LazyLinear, k: int) -> Sparse:
        """The code of k latents in each layer."""
        assert isinstance(pre, Tensor)
        code = top(pre, min(k, pre.shape[-1]))
        return self._numbered(replace(code, values=code.values.relu()), pre.shape[-1])

    def revive(self, h: Tree, k: int, dead_after: int) -> Sparse | None:
        """A code of dead latents only, in each layer those of its group."""
        dictionary = self.dictionary
        dead = self.idle > dead_after
        if not bool(dead.any()):
            return None
        own = dead.unflatten(0, (dictionary.count, -1))[dictionary.owners(h.shape[1])]
        code = top(h.masked_fill(~own, -torch.inf), min(k, int(own.sum(1).amax())))
        return self._numbered(replace(code, values=code.values.relu()), h.shape[-1])

    def _numbered(self, code: Sparse, latents: int) -> Sparse:
        first = (self.dictionary.owners(code.indices.shape[1]) * latents)[:, None]
        return replace(code, indices=code.indices + first, width=self.width)
