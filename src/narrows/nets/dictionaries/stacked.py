"""The linear halves for activations of several layers at once, (layers, D): every layer on a scale of its own.

The residual stream grows with depth, and two models need not have the same units at all. Here each layer is brought
to mean square 1 inside, so that no layer is an afterthought of the loudest one.
"""

from __future__ import annotations

import torch
from torch import Tensor

from narrows.core import NO_CONDITION, Autoencoder, Batch, Condition, Spec, Tree
from narrows.core.check import RequestError
from narrows.kernels.sparse import LazyLinear
from narrows.nets.dictionaries.dictionary import AffineEncoder, Dictionary, Rescaled, geometric_median, spread

__all__ = [
    "FoldsLayers",
    "LayerScale",
    "PooledDictionary",
    "PooledEncoder",
    "StackedDictionary",
    "StackedEncoder",
    "balance_of",
    "layers_of",
    "size_of_layers",
]


def layers_of(spec: Spec, method: str) -> tuple[int, int]:
    """How many layers an example has, and how wide each is: its shape, (L, D).

    Raises:
        RequestError: an example is not the activations of several layers.

    Example:
        >>> layers_of(Spec((6, 384)), "crosscoder")
        (6, 384)
    """
    if len(spec.shape) != 2:
        raise RequestError(
            f"`{method}` reads the activations of several layers, or models, at once: examples of shape "
            f"(layers, width), not {spec.shape}. Harvest several layers and open them with ``layout='stack'``."
        )
    return spec.shape[0], spec.shape[1]


class LayerScale:
    """One scale a layer: 1 / s brings it to mean square 1 around its centre, laid out along a flat example.

    Args:
        x: flat examples, (B, L D).
        layers: L.

    Example:
        >>> LayerScale(torch.tensor([[1.0, 10.0], [-1.0, -10.0]]), 2).factor
        tensor([1.0000, 0.1000])
    """

    def __init__(self, x: Tensor, layers: int) -> None:
        parts = x.unflatten(1, (layers, -1)).unbind(1)
        centres = [geometric_median(part) for part in parts]
        sizes = torch.stack([spread(part, centre) for part, centre in zip(parts, centres, strict=True)])
        self.centre = torch.cat(centres)
        self.factor = (1 / sizes).repeat_interleave(parts[0].shape[1])


class FoldsLayers:
    """An encoder that takes the scales of layers, and the lengths of atoms, into its weights."""

    def amplify(self, factor: Tensor) -> None:
        """From now on put out pre-activations that are `factor` times as large, (N,)."""
        raise NotImplementedError(f"{type(self).__name__} must define amplify")

    def fold(self) -> None:
        """From now on take the data as they are; the dictionary takes its scale into what it adds."""
        raise NotImplementedError(f"{type(self).__name__} must define fold")


class StackedDictionary(Dictionary):
    r"""Atoms that span layers: :math:`\hat x^l = (z A^l + b^l) / s_l`, each layer on its own scale.

    ``balance`` weighs the squared errors of the layers such that each counts by its share of variance unexplained,
    and such that the sum stays in the units of the data: :math:`c\, s_l^2`, with one c for all.

    Args:
        latents: how many atoms, N.
        shape: (layers, D).
        unit_norm: hold every atom, over all its layers, at length 1.
        normalise: bring each layer to mean square 1 inside.
    """

    balance: Tensor
    unit: Tensor

    def __init__(
        self, latents: int, shape: tuple[int, ...], *, unit_norm: bool = True, normalise: bool = False
    ) -> None:
        super().__init__(latents, shape, unit_norm=unit_norm, normalise=normalise)
        for name in ("scale", "unit", "balance"):
            self.register_buffer(name, torch.ones_like(self.bias.detach()))

    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """Set the scales and the bias from what must be produced."""
        target = batch.target.flatten(1).to(self.bias.dtype)
        found = LayerScale(target, self.shape[0])
        if self.normalise:
            self.scale.copy_(found.factor)
        self.unit.copy_(self.scale)
        self.bias.copy_(found.centre * self.scale)
        self.balance.copy_(balance_of(target, self.unit))

    def norms(self) -> Tensor:
        """The length of each atom in each layer, in units of the layer's scale, with its gradient: (N, L)."""
        return torch.linalg.vector_norm(self.scaled().unflatten(1, self.shape), dim=-1)

    def scaled(self) -> Tensor:
        """The atoms in units of each layer's scale, (N, L D)."""
        return self.atoms * (self.unit / self.scale)

    def lengths(self) -> Tensor:
        """The sum over layers of each atom's lengths, (N,): what a latent's activity is counted in."""
        return self.norms().sum(1)

    def finish(self, model: Autoencoder) -> None:
        """Fold the layers' scales into the weights; then the lengths of free atoms into latents that pass alone."""
        encoder, bottleneck = model.encoder, model.bottleneck
        if not isinstance(encoder, FoldsLayers):
            return
        if not self.unit_norm and isinstance(bottleneck, Rescaled) and bottleneck.elementwise:
            lengths = self.lengths()
            lengths = torch.where(lengths > 0, lengths, torch.ones_like(lengths))
            self.atoms.div_(lengths.unsqueeze(1))
            encoder.amplify(lengths)
            bottleneck.rescale(lengths)
        encoder.fold()
        self.atoms.div_(self.scale)
        self.bias.div_(self.scale)
        self.scale.fill_(1.0)


class StackedEncoder(AffineEncoder, FoldsLayers):
    """A linear encoder of several layers: what each says is summed, ``sum_l s_l (x^l - shift^l) W^l' + b``.

    Args:
        latents: how many, N.
        shape: (layers, D).
        centre: the dictionary whose bias is subtracted, and whose atoms W starts from.
        normalise: bring each layer to mean square 1.
    """

    def __init__(
        self,
        latents: int,
        shape: tuple[int, ...],
        *,
        centre: StackedDictionary | None = None,
        normalise: bool = False,
    ) -> None:
        super().__init__(latents, shape, centre=centre, normalise=normalise)
        self.layers = shape[0]
        self.register_buffer("scale", torch.ones(self.rows.shape[1]))

    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """Set the scales from what is seen."""
        x = batch.x.flatten(1).to(self.bias.dtype)
        found = LayerScale(x, self.layers)
        if self.normalise:
            self.scale.copy_(found.factor)
        if self.shift is None:
            self.bias.copy_(-(self.rows @ (found.centre * self.scale)))

    def amplify(self, factor: Tensor) -> None:
        """From now on pre-activations are `factor` times as large, (N,)."""
        self.rows.mul_(factor.unsqueeze(1))
        self.bias.mul_(factor)

    def fold(self) -> None:
        """From now on take the data as they are; the dictionary takes its scale into what is subtracted here."""
        self.rows.mul_(self.scale)
        self.scale.fill_(1.0)


class PooledDictionary(Dictionary):
    r"""The same atoms for every layer: :math:`\hat x^l = (z^l A + b) / s_l`, from a code for each layer.

    With one centre for all layers, s brings each layer's mean square around 0 to 1. It cannot be folded into weights
    that the layers share, and stays.

    Args:
        latents: how many atoms, N.
        shape: (layers, D).
        unit_norm: hold every atom at length 1.
        normalise: bring each layer to mean square 1 inside.

    Example:
        >>> PooledDictionary(16, (3, 5))(torch.zeros(7, 3, 16)).shape
        torch.Size([7, 3, 5])
    """

    balance: Tensor

    def __init__(
        self, latents: int, shape: tuple[int, ...], *, unit_norm: bool = True, normalise: bool = False
    ) -> None:
        super().__init__(latents, shape[1:], unit_norm=unit_norm, normalise=normalise)
        self.register_buffer("scale", torch.ones(shape[0], 1))
        self.register_buffer("balance", torch.ones(shape))

    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """Set the scales and the centre from what must be produced."""
        target = batch.target.to(self.bias.dtype)
        if self.normalise:
            self.scale.copy_(size_of_layers(target))
        self.bias.copy_(geometric_median((target * self.scale).flatten(0, 1)))
        self.balance.copy_(balance_of(target, self.scale))

    def finish(self, model: Autoencoder) -> None:
        """Nothing is folded."""


class PooledEncoder(AffineEncoder):
    """The same linear encoder for every layer: a `LazyLinear` of B L rows, of examples (B, L, D).

    Args:
        latents: how many, N.
        shape: (layers, D).
        centre: the dictionary whose bias is subtracted, and whose atoms W starts from.
        normalise: bring each layer to mean square 1.
    """

    def __init__(
        self, latents: int, shape: tuple[int, ...], *, centre: Dictionary, normalise: bool = False
    ) -> None:
        super().__init__(latents, shape[1:], centre=centre, normalise=normalise)
        self.register_buffer("scale", torch.ones(shape[0], 1))

    def forward(self, x: Tree, condition: Condition = NO_CONDITION) -> LazyLinear:
        """Promise the pre-activations (B L, N)."""
        return LazyLinear((x * self.scale).flatten(0, 1), self.rows, self.bias, self.shift)

    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """Set the scales from what is seen."""
        if self.normalise:
            self.scale.copy_(size_of_layers(batch.x))


def size_of_layers(x: Tensor) -> Tensor:
    """What brings each layer of x (B, L, D) to mean square 1: (L, 1), 1 where a layer is 0."""
    size = x.square().mean((0, 2)).sqrt().unsqueeze(1)
    return torch.where(size > 0, 1 / size.clamp_min(1e-30), 1.0)


def balance_of(target: Tensor, scale: Tensor) -> Tensor:
    """What squared errors are multiplied with so that the variances of scaled layers count, in units of the data.

    Args:
        target: what must be produced, (B, L, D), or flat.
        scale: of each layer, broadcastable to one example.

    Returns:
        Of the shape of one example.
    """
    varies = (target - target.mean(0)).square().mean(0)
    units = scale.square().expand_as(varies)
    total = (varies * units).sum()
    return units * torch.where(total > 0, varies.sum() / total.clamp_min(1e-30), 1.0)
