"""Encoder and dictionary of a cross-layer transcoder: latents read one layer, and write to it and all later
ones.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from narrows.core import NO_CONDITION, Autoencoder, Batch, Condition, Part, Tree
from narrows.nets.dictionaries.stacked import FoldsLayers, LayerScale, StackedDictionary

__all__ = ["CrossLayerDictionary", "LayerEncoder", "SkipCrossLayerDictionary"]


class CrossLayerDictionary(StackedDictionary):
    r"""Atoms of L layers' latents: :math:`\hat y^l = \sum_{l' \le l} z^{l'} W^{l' \to l}`.

    The atoms form one matrix, (L M, L D), so that a sparse code is decoded sparsely. Entries before an atom's
    own layer are 0 and get no gradient.

    Args:
        latents: number of latents per layer, M.
        shape: (layers, D).
        unit_norm: constrain every atom, over all its layers, to norm 1.
        normalise: scale each layer to mean square 1 internally.
    """

    def __init__(
        self, latents: int, shape: tuple[int, ...], *, unit_norm: bool = True, normalise: bool = False
    ) -> None:
        super().__init__(latents * shape[0], shape, unit_norm=unit_norm, normalise=normalise)
        with torch.no_grad():
            self._mask_earlier_layers(self.atoms)
            self.atoms.copy_(F.normalize(self.atoms, dim=1))

    def lengths(self) -> Tensor:
        """The norm of each atom over all layers, (N,)."""
        return torch.linalg.vector_norm(self.scaled(), dim=1)

    def before_update(self) -> None:
        """Set the gradient of entries before an atom's own layer to 0."""
        super().before_update()
        if self.atoms.grad is not None:
            self._mask_earlier_layers(self.atoms.grad)

    def _mask_earlier_layers(self, atoms: Tensor) -> None:
        layers = self.shape[0]
        for layer, rows in enumerate(atoms.unflatten(0, (layers, -1))):
            rows[:, : layer * self.shape[1]] = 0


class SkipCrossLayerDictionary(CrossLayerDictionary):
    r"""With a linear skip connection in each layer: :math:`\hat y^l = \sum_{l' \le l} z^{l'} W^{l' \to l} + x^l S^l`.

    S starts at 0. The input is a pair (z, x), with x from `LayerEncoder(skip=True)`.

    Args:
        latents: number of latents per layer, M.
        shape: (layers, E), of the output.
        width: width of a layer's input, D.
        unit_norm: constrain every atom, over all its layers, to norm 1.
        normalise: scale each layer to mean square 1 internally.
    """

    def __init__(
        self,
        latents: int,
        shape: tuple[int, ...],
        width: int,
        *,
        unit_norm: bool = True,
        normalise: bool = False,
    ) -> None:
        super().__init__(latents, shape, unit_norm=unit_norm, normalise=normalise)
        self.skip = nn.Parameter(torch.zeros(shape[0], width, shape[1]))

    def forward(self, z: Tree, condition: Condition = NO_CONDITION) -> Tensor:
        """Decode pairs of codes (*samples, B, L M) and inputs (*samples, B, L D)."""
        z, x = z
        layers = x.unflatten(-1, self.skip.shape[:2])
        past = torch.einsum("...ld,lde->...le", layers, self.skip).flatten(-2)
        return self._shaped(self._sum(z) + past + self.bias)

    def finish(self, model: Autoencoder) -> None:
        """Fold the layers' scales into the skip connection too."""
        encoder = model.encoder
        if isinstance(encoder, LayerEncoder):
            self.skip.mul_(encoder.scale.unsqueeze(-1) / self.scale.view(self.shape).unsqueeze(1))
        super().finish(model)


class LayerEncoder(Part, FoldsLayers):
    """A linear encoder for each layer: the concatenated pre-activations of all layers, (B, L M).

    Args:
        latents: number of latents per layer, M.
        shape: (layers, D).
        normalise: scale each layer to mean square 1.
        skip: return the pair of the pre-activations and the (scaled) input, for a `SkipCrossLayerDictionary`.

    Example:
        >>> LayerEncoder(5, (3, 4))(torch.ones(7, 3, 4)).shape
        torch.Size([7, 15])
    """

    scale: Tensor

    def __init__(
        self, latents: int, shape: tuple[int, ...], *, normalise: bool = False, skip: bool = False
    ) -> None:
        super().__init__()
        layers, width = shape
        self.normalise, self.skip = normalise, skip
        self.weight = nn.Parameter(F.normalize(torch.randn(layers, latents, width), dim=-1))
        self.bias = nn.Parameter(torch.zeros(layers * latents))
        self.register_buffer("scale", torch.ones(layers, width))

    def forward(self, x: Tree, condition: Condition = NO_CONDITION) -> Tensor | tuple[Tensor, Tensor]:
        """Pre-activations of inputs (B, L, D)."""
        x = x * self.scale
        pre = torch.einsum("bld,lmd->blm", x, self.weight).flatten(1) + self.bias
        return (pre, x.flatten(1)) if self.skip else pre

    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """Initialise the scales, and the bias such that the pre-activations at the layers' medians are 0."""
        x = batch.x.flatten(1).to(self.bias.dtype)
        found = LayerScale(x, len(self.weight))
        if self.normalise:
            self.scale.copy_(found.factor.view_as(self.scale))
        centre = found.centre.view_as(self.scale) * self.scale
        self.bias.copy_(-torch.einsum("ld,lmd->lm", centre, self.weight).flatten())

    def amplify(self, factor: Tensor) -> None:
        """Multiply the pre-activations by `factor`, (L M,)."""
        self.weight.mul_(factor.view(*self.weight.shape[:2], 1))
        self.bias.mul_(factor)

    def fold(self) -> None:
        """Fold the scales into the weights."""
        self.weight.mul_(self.scale.unsqueeze(1))
        self.scale.fill_(1.0)
