"""What all sparse bottlenecks with a price share: its unit, and the size of a latent that the price is put on."""

from __future__ import annotations

import torch
from torch import Tensor

from narrows.bottlenecks.sparse.latents import SparseBottleneck
from narrows.core import Autoencoder, Batch
from narrows.core.reference import ModuleReference
from narrows.kernels.sparse import LazyLinear
from narrows.nets.dictionaries.dictionary import Dictionary, geometric_median, spread

__all__ = ["Penalised"]


class Penalised(SparseBottleneck):
    r"""Latents that pass one by one, and cost something. A subclass says in `activate` which pass, and how much it is.

    Prices are put on sizes :math:`s_n = z_n \|a_n\| / g`, with g the size of the data where latents are in units of
    the data, and 1 where the decoder scales them; :math:`\|a_n\|` is left out where atoms have length 1. The costs
    are multiplied by `unit`, the mean square of the data. So a weight means the same on data of any scale, and a
    price cannot be avoided by longer atoms.

    Args:
        latents: how many, N.
    """

    elementwise = True
    unit: Tensor
    grain: Tensor

    def __init__(self, latents: int) -> None:
        super().__init__(latents)
        self.register_buffer("unit", torch.ones(()))
        self.register_buffer("grain", torch.ones(()))
        self._free: ModuleReference[Dictionary] | None = None

    def bind(self, dictionary: Dictionary) -> None:
        """Remember the dictionary where its atoms may have any length."""
        self._free = None if dictionary.unit_norm else ModuleReference(dictionary)

    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """Measure what must be produced: its size sigma around its middle."""
        target = batch.target.flatten(1)
        sigma = spread(target, geometric_median(target))
        self.unit.copy_(sigma.square())
        scaled = isinstance(model.decoder, Dictionary) and model.decoder.normalise
        self.grain.copy_(torch.ones_like(sigma) if scaled else sigma)

    def rescale(self, factor: Tensor) -> None:
        """Latents come in other units; lengths of atoms that change cancel in the sizes."""
        if factor.ndim == 0:
            self.grain.mul_(factor)

    def floor(self) -> Tensor:
        """Above these pre-activations a latent is on, (N,)."""
        return torch.zeros_like(self.idle, dtype=self.grain.dtype)

    def sizes(self, z: Tensor, latents: Tensor | None = None) -> Tensor:
        """What the price is put on, (B, N), or (B, n) of some latents."""
        z = z / self.grain
        if self._free is None:
            return z
        lengths = self._free.module.lengths()
        return z * (lengths if latents is None else lengths[latents])

    def price(self, amounts: Tensor) -> Tensor:
        """The cost of each example, (B,), of amounts a latent (B, N)."""
        return self.unit * amounts.sum(-1)

    @staticmethod
    def dense(pre: Tensor | LazyLinear) -> Tensor:
        """Pre-activations (B, N), computed where they were only promised."""
        return pre.dense() if isinstance(pre, LazyLinear) else pre
