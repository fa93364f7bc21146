"""The linear halves of a cross-layer transcoder: latents read one layer, and write to it and all later ones."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from narrows.core import NO_CONDITION, Autoencoder, Batch, Condition, Part, Tree
from narrows.nets.dictionaries.stacked import FoldsLayers, LayerScale, StackedDictionary

__all__ = ["CrossLayerDictionary", "LayerEncoder"]


class CrossLayerDictionary(StackedDictionary):
    r"""Atoms of L layers' latents, zero before their own layer: :math:`\hat y^l = \sum_{l' \le l} z^{l'} W^{l' \to l}`.

    They are one matrix, (L M, L D), so that a sparse code is decoded sparsely. What an atom must not reach starts
    at 0 and gets no gradient.

    Args:
        latents: how many in each layer, M.
        shape: (layers, D).
        unit_norm: hold every atom, over all its layers, at length 1.
        normalise: bring each layer to mean square 1 inside.
    """

    def __init__(
        self, latents: int, shape: tuple[int, ...], *, unit_norm: bool = True, normalise: bool = False
    ) -> None:
        super().__init__(latents * shape[0], shape, unit_norm=unit_norm, normalise=normalise)
        with torch.no_grad():
            self._cut(self.atoms)
            self.atoms.copy_(F.normalize(self.atoms, dim=1))

    def lengths(self) -> Tensor:
        """The length of all that each atom writes, over its layers, (N,)."""
        return torch.linalg.vector_norm(self.scaled(), dim=1)

    def before_update(self) -> None:
        """No gradient reaches what lies before an atom's layer."""
        super().before_update()
        if self.atoms.grad is not None:
            self._cut(self.atoms.grad)

    def _cut(self, atoms: Tensor) -> None:
        layers = self.shape[0]
        for layer, rows in enumerate(atoms.unflatten(0, (layers, -1))):
            rows[:, : layer * self.shape[1]] = 0


class LayerEncoder(Part, FoldsLayers):
    """A linear encoder for each layer: pre-activations of all layers one after another, (B, L M).

    Args:
        latents: how many in each layer, M.
        shape: (layers, D).
        normalise: bring each layer to mean square 1.

    Example:
        >>> LayerEncoder(5, (3, 4))(torch.ones(7, 3, 4)).shape
        torch.Size([7, 15])
    """

    scale: Tensor

    def __init__(self, latents: int, shape: tuple[int, ...], *, normalise: bool = False) -> None:
        super().__init__()
        layers, width = shape
        self.normalise = normalise
        self.weight = nn.Parameter(F.normalize(torch.randn(layers, latents, width), dim=-1))
        self.bias = nn.Parameter(torch.zeros(layers * latents))
        self.register_buffer("scale", torch.ones(layers, width))

    def forward(self, x: Tree, condition: Condition = NO_CONDITION) -> Tensor:
        """Pre-activations of inputs (B, L, D)."""
        return torch.einsum("bld,lmd->blm", x * self.scale, self.weight).flatten(1) + self.bias

    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """Set the scales, and the bias such that the pre-activations of the layers' medians are 0."""
        x = batch.x.flatten(1).to(self.bias.dtype)
        found = LayerScale(x, len(self.weight))
        if self.normalise:
            self.scale.copy_(found.factor.view_as(self.scale))
        centre = found.centre.view_as(self.scale) * self.scale
        self.bias.copy_(-torch.einsum("ld,lmd->lm", centre, self.weight).flatten())

    def amplify(self, factor: Tensor) -> None:
        """From now on put out pre-activations that are `factor` times as large, (L M,)."""
        self.weight.mul_(factor.view(*self.weight.shape[:2], 1))
        self.bias.mul_(factor)

    def fold(self) -> None:
        """From now on take the data as they are."""
        self.weight.mul_(self.scale.unsqueeze(1))
        self.scale.fill_(1.0)
