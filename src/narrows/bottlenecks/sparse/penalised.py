"""The base class of sparse bottlenecks with a penalty: its units, and the sizes that it is computed on."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from narrows.bottlenecks.sparse.latents import SparseBottleneck
from narrows.core import Autoencoder, Batch, Tree
from narrows.core.reference import ModuleReference
from narrows.kernels.sparse import LazyLinear
from narrows.nets.dictionaries.dictionary import Dictionary, geometric_median, spread

__all__ = ["Penalised"]


class Penalised(SparseBottleneck):
    r"""Latents that are activated independently, with a penalty. A subclass defines both in `activate`.

    Penalties are on sizes :math:`s_n = z_n \|a_n\| / g`, with g the scale of the data if latents are in units
    of the data, and 1 if the decoder rescales them; :math:`\|a_n\|` is omitted for normalised atoms. The
    costs are multiplied by `unit`, the mean square of the data. So a weight has the same meaning at any scale
    of the data, and the penalty cannot be reduced by longer atoms.

    Args:
        latents: number of latents, N.
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
        """Store the dictionary if its atoms are not normalised."""
        self._free = None if dictionary.unit_norm or dictionary.by_norm else ModuleReference(dictionary)

    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """Measure the scale sigma of the targets around their geometric median."""
        target = batch.target.flatten(1)
        sigma = spread(target, geometric_median(target))
        self.unit.copy_(sigma.square())
        scaled = isinstance(model.decoder, Dictionary) and model.decoder.normalise
        self.grain.copy_(torch.ones_like(sigma) if scaled else sigma)

    def rescale(self, factor: Tensor) -> None:
        """Adapt to rescaled latents; changed lengths of atoms cancel in the sizes."""
        if factor.ndim == 0:
            self.grain.mul_(factor)

    def pre_activations(self, h: Tree) -> Tensor:
        """The dense pre-activations of features, (B, N)."""
        return self.dense(h[0] if isinstance(h, tuple) else h)

    def start(self, encoder: nn.Module, pre: Tensor, share: float) -> None:
        """Make each latent active on a share of some examples, by the encoder's bias or by thresholds.

        Each latent's level is exceeded by the same number of rows, at least one. A latent whose largest
        pre-activations are all equal is left as it is.

        Args:
            encoder: the encoder, with a bias for each latent.
            pre: its pre-activations of some examples, (B, N).
            share: the share, between 0 and 1.
        """
        bias = dict(encoder.named_parameters(recurse=False)).get("bias")
        above = min(max(1, round(share * len(pre))), len(pre) - 1)
        if bias is None or bias.shape != (self.width,) or len(pre) < 2:
            return
        largest = pre.topk(above + 1, dim=0).values
        level = torch.where(largest[-1] < largest[0], largest[-2:].mean(0), self.floor())
        bias.sub_(self.raise_floor(level).to(bias.dtype))

    def raise_floor(self, level: Tensor) -> Tensor:
        """Set thresholds to levels (N,) if there are any; return what the bias must be lowered by instead."""
        return level

    def floor(self) -> Tensor:
        """The pre-activations above which a latent is active, (N,)."""
        return torch.zeros_like(self.idle, dtype=self.grain.dtype)

    def sizes(self, z: Tensor, latents: Tensor | None = None) -> Tensor:
        """The sizes that the penalty is computed on, (B, N), or (B, n) of some latents."""
        z = z / self.grain
        if self._free is None:
            return z
        lengths = self._free.module.lengths()
        return z * (lengths if latents is None else lengths[latents])

    def price(self, amounts: Tensor) -> Tensor:
        """The cost of each example, (B,), from penalties per latent (B, N)."""
        return self.unit * amounts.sum(-1)

    @staticmethod
    def dense(pre: Tensor | LazyLinear) -> Tensor:
        """Dense pre-activations (B, N), computed if they are lazy."""
        return pre.dense() if isinstance(pre, LazyLinear) else pre
