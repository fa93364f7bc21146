"""Sparse codes of several layers, or positions, of an example."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from narrows.bottlenecks.sparse.relu import ReLU
from narrows.bottlenecks.sparse.topk import TopK
from narrows.core import Sparse, Tree, tree_map
from narrows.core.check import whole
from narrows.kernels.sparse import LazyLinear

__all__ = ["CrossLayerTopK", "LayerReLU", "LayerTopK"]


class LayerTopK(TopK):
    """Keep the k largest latents in each layer of an example, with one set of latents for all layers.

    Pre-activations have the layers of the examples as rows, (B L, N); the code has an axis for them, (B, L,
    k). A latent is idle if it is active in no layer.

    Args:
        latents: number of latents, N.
        k: number of active latents of a layer.
        layers: number of layers, L.

    Example:
        >>> LayerTopK(4, 1, 2)(torch.tensor([[3.0, 0, 0, 1], [0, 2, 0, 1]])).z.values.shape
        torch.Size([1, 2, 1])
    """

    def __init__(self, latents: int, k: int, layers: int) -> None:
        super().__init__(latents, k)
        self.layers = whole("layers", layers)

    def largest(self, pre: Tensor | LazyLinear, k: int) -> Sparse:
        """The code of k latents in each layer."""
        return self._unfolded(super().largest(pre, k))

    def revive(self, h: Tree, k: int, dead_after: int) -> Sparse | None:
        """A code of dead latents only, in each layer."""
        code = super().revive(h, k, dead_after)
        return None if code is None else self._unfolded(code)

    def _unfolded(self, code: Sparse) -> Sparse:
        shape = (-1, self.layers)
        return replace(code, indices=code.indices.unflatten(0, shape), values=code.values.unflatten(0, shape))


class CrossLayerTopK(TopK):
    """Keep the k largest latents of each layer, where each layer has its own latents.

    Pre-activations of all layers are concatenated, (B, L M), and so are the indices in the code.

    Args:
        latents: number of latents of each layer, M.
        k: number of active latents of a layer.
        layers: number of layers, L.

    Example:
        >>> CrossLayerTopK(2, 1, 2)(torch.tensor([[3.0, 1, 0, 2]])).z.dense()
        tensor([[3., 0., 0., 2.]])
    """

    def __init__(self, latents: int, k: int, layers: int) -> None:
        whole("k", k, low=1, high=latents, fix="k cannot exceed ``latents``.")
        super().__init__(latents * whole("layers", layers), k)
        self.layers = layers

    def largest(self, pre: Tensor | LazyLinear, k: int) -> Sparse:
        """The code of k latents in each layer, (B, L k)."""
        h = pre.dense() if isinstance(pre, LazyLinear) else pre
        each = super().largest(h.unflatten(1, (self.layers, -1)).flatten(0, 1), k)
        first = torch.arange(self.layers, device=h.device) * (self.width // self.layers)
        indices = each.indices.unflatten(0, (-1, self.layers)) + first[:, None]
        values = each.values.unflatten(0, (-1, self.layers))
        return Sparse(indices.flatten(1), values.flatten(1), self.width)


class LayerReLU(ReLU):
    """ReLU latents for each layer, or position, of an example; the penalty is the sum over all of them.

    Pre-activations have the layers of the examples as rows, (B L, N); the code is (B, L, N).

    Args:
        latents: number of latents, N.
        layers: number of layers, L.
    """

    def __init__(self, latents: int, layers: int) -> None:
        super().__init__(latents)
        self.layers = whole("layers", layers)

    def activate(self, pre: Tensor | LazyLinear) -> tuple[Sparse | Tensor, dict[str, Tensor]]:
        """The positive part, and its sum."""
        z, costs = super().activate(pre)
        shape = (-1, self.layers)
        return tree_map(lambda t: t.unflatten(0, shape), z), {
            name: c.unflatten(0, shape).sum(1) for name, c in costs.items()
        }
