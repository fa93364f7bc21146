"""Encoders and dictionaries for activations of several layers, (layers, D), with a scale for each layer.

The norm of the residual stream grows with depth, and different models have different units. Each layer is
scaled to mean square 1 internally, so that the loss does not depend mainly on the layer with the largest
norm.
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
    """The number of layers of an example and their width, (L, D).

    Raises:
        RequestError: the examples do not have the shape (L, D).

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
    """The centre of each layer, and the factor that scales it to mean square 1.

    Args:
        x: flat examples, (B, L D).
        layers: number of layers, L.

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
    """An encoder that can fold the scales of layers and the norms of atoms into its weights."""

    def amplify(self, factor: Tensor) -> None:
        """Multiply the pre-activations by `factor`, (N,)."""
        raise NotImplementedError(f"{type(self).__name__} must define amplify")

    def fold(self) -> None:
        """Fold the input scales into the weights; the dictionary folds its scale into its bias."""
        raise NotImplementedError(f"{type(self).__name__} must define fold")


class StackedDictionary(Dictionary):
    r"""A dictionary whose atoms span layers: :math:`\hat x^l = (z A^l + b^l) / s_l`.

    The buffer ``balance`` holds weights :math:`c\, s_l^2` of the layers' squared errors: each layer counts by
    its fraction of variance unexplained, and the common factor c keeps the sum in the units of the data.

    Args:
        latents: number of atoms, N.
        shape: (layers, D).
        unit_norm: constrain every atom, over all its layers, to norm 1.
        normalise: scale each layer to mean square 1 internally.
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
        """Initialise the scales and the bias from the targets."""
        target = batch.target.flatten(1).to(self.bias.dtype)
        found = LayerScale(target, self.shape[0])
        if self.normalise:
            self.scale.copy_(found.factor)
        self.unit.copy_(self.scale)
        self.bias.copy_(found.centre * self.scale)
        self.balance.copy_(balance_of(target, self.unit))

    def norms(self) -> Tensor:
        """The norm of each atom in each layer, in units of the layer's scale, differentiable: (N, L)."""
        return torch.linalg.vector_norm(self.scaled().unflatten(1, self.shape), dim=-1)

    def scaled(self) -> Tensor:
        """The atoms in units of each layer's scale, (N, L D)."""
        return self.atoms * (self.unit / self.scale)

    def lengths(self) -> Tensor:
        """The sum over layers of each atom's norms, (N,), by which activations are weighted."""
        return self.norms().sum(1)

    def finish(self, model: Autoencoder) -> None:
        """Fold the layers' scales into the weights, and the norms of atoms into elementwise latents."""
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
    """A linear encoder that sums over several layers: ``sum_l s_l (x^l - shift^l) W^l' + b``.

    Args:
        latents: number of latents, N.
        shape: (layers, D).
        centre: the dictionary whose bias is subtracted, and whose atoms initialise W.
        normalise: scale each layer to mean square 1.
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
        """Initialise the scales from the inputs."""
        x = batch.x.flatten(1).to(self.bias.dtype)
        found = LayerScale(x, self.layers)
        if self.normalise:
            self.scale.copy_(found.factor)
        if self.shift is None:
            self.bias.copy_(-(self.rows @ (found.centre * self.scale)))

    def fold(self) -> None:
        """Fold the input scales into the weights; the dictionary folds its scale into the shift."""
        self.rows.mul_(self.scale)
        self.scale.fill_(1.0)


class PooledDictionary(Dictionary):
    r"""The same atoms for every layer: :math:`\hat x^l = (z^l A + b) / s_l`, from one code per layer.

    There is one centre for all layers, and s scales each layer's mean square around 0 to 1. The scales cannot
    be folded into weights that the layers share, so they stay.

    Args:
        latents: number of atoms, N.
        shape: (layers, D).
        unit_norm: constrain every atom to norm 1.
        normalise: scale each layer to mean square 1 internally.

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
        """Initialise the scales and the centre from the targets."""
        target = batch.target.to(self.bias.dtype)
        if self.normalise:
            self.scale.copy_(size_of_layers(target))
        self.bias.copy_(geometric_median((target * self.scale).flatten(0, 1)))
        self.balance.copy_(balance_of(target, self.scale))

    def finish(self, model: Autoencoder) -> None:
        """The scales are not folded."""


class PooledEncoder(AffineEncoder):
    """The same linear encoder for every layer: a `LazyLinear` of B L rows from examples (B, L, D).

    Args:
        latents: number of latents, N.
        shape: (layers, D).
        centre: the dictionary whose bias is subtracted, and whose atoms initialise W.
        normalise: scale each layer to mean square 1.
    """

    def __init__(
        self, latents: int, shape: tuple[int, ...], *, centre: Dictionary, normalise: bool = False
    ) -> None:
        super().__init__(latents, shape[1:], centre=centre, normalise=normalise)
        self.register_buffer("scale", torch.ones(shape[0], 1))

    def forward(self, x: Tree, condition: Condition = NO_CONDITION) -> LazyLinear:
        """The lazy pre-activations (B L, N)."""
        return LazyLinear((x * self.scale).flatten(0, 1), self.rows, self.bias, self.shift)

    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """Initialise the scales from the inputs."""
        if self.normalise:
            self.scale.copy_(size_of_layers(batch.x))


def size_of_layers(x: Tensor) -> Tensor:
    """The factors that scale each layer of x (B, L, D) to mean square 1: (L, 1); 1 for layers that are 0."""
    size = x.square().mean((0, 2)).sqrt().unsqueeze(1)
    return torch.where(size > 0, 1 / size.clamp_min(1e-30), 1.0)


def balance_of(target: Tensor, scale: Tensor) -> Tensor:
    """Weights of squared errors by which the variances of the scaled layers count, in units of the data.

    Args:
        target: the targets, (B, L, D), or flat.
        scale: scale of each layer, broadcastable to one example.

    Returns:
        Weights of the shape of one example.
    """
    varies = (target - target.mean(0)).square().mean(0)
    units = scale.square().expand_as(varies)
    total = (varies * units).sum()
    return units * torch.where(total > 0, varies.sum() / total.clamp_min(1e-30), 1.0)
