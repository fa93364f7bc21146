"""The base class of sparse bottlenecks with a penalty: its units, and the sizes that it is computed on."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from narrows.bottlenecks.sparse.latents import SparseBottleneck
from narrows.core import Autoencoder, Batch, Sparse, Tree
from narrows.core.reference import ModuleReference
from narrows.kernels.batch import exceeding
from narrows.kernels.sparse import LazyLinear
from narrows.nets.dictionaries.dictionary import Dictionary, geometric_median, spread

__all__ = ["Penalised"]

_FEW = 1 / 8
"""The share of pre-activations up to which a sparse code is faster than a dense one."""


class Penalised(SparseBottleneck):
    r"""Latents that are activated independently, with a penalty. A subclass defines both in `activate`.

    Penalties are on sizes :math:`s_n = z_n \|a_n\| / g`, with g the scale of the data if latents are in units
    of the data, and 1 if the decoder rescales them; :math:`\|a_n\|` is omitted for normalised atoms. The
    costs are multiplied by `unit`, the mean square of the data. So a weight has the same meaning at any scale
    of the data, and the penalty cannot be reduced by longer atoms.

    In training the code is `Sparse` while few pre-activations can have a gradient: only those are decoded and
    differentiated, which gives the same loss and gradients in a fraction of the time.

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

    def candidates(self, pre: Tensor | LazyLinear, bound: Tensor) -> tuple[Tensor, Tensor | None]:
        """The pre-activations that exceed a bound (N,), below which neither code nor gradient depends on them.

        Returns:
            In training, if they are few: values (B, k), far below any bound where unused, and their latents.
            Else all pre-activations (B, N), and None.
        """
        found = exceeding(pre, bound.detach(), _FEW) if self.training else self.dense(pre)
        return (found.values, found.indices) if isinstance(found, Sparse) else (found, None)

    def code(self, z: Tensor, latents: Tensor | None) -> Sparse | Tensor:
        """The code of activations (B, N), or (B, k) of some latents."""
        return z if latents is None else Sparse(latents, z, self.width)

    def sizes(self, z: Tensor, latents: Tensor | None = None) -> Tensor:
        """The sizes that the penalty is computed on, (B, N); of some latents (n,) or (B, k), with their shape."""
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
