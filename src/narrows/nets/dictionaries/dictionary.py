"""The linear encoder and the linear decoder (dictionary of atoms) of sparse autoencoders.

The encoder owns W and b but does not compute the product: the bottleneck decides whether it needs all
    pre-activations
or only the largest, and a top-k that is computed together with the product needs neither the dense matrix nor
its gradient. So the features of `AffineEncoder` are a `LazyLinear`, which holds (x, W, b)::

    x --AffineEncoder--> LazyLinear --TopK--> Code(z=Sparse) --Dictionary--> x_hat       k-sparse both ways
                                --ReLU--> Code(z=Tensor) --Dictionary--> x_hat       dense, with the same two
                                parts

Variants replace one part: the bottleneck (gated, JumpReLU, BatchTopK), the shape (a crosscoder's atoms span
    layers) or
the objective (Matryoshka prefixes).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from narrows.core import (
    NO_CONDITION,
    Accumulator,
    Autoencoder,
    Batch,
    Condition,
    Part,
    Pass,
    Sparse,
    Tree,
)
from narrows.core.reference import ModuleReference
from narrows.kernels.metrics import Coherence
from narrows.kernels.parallel import SplitLinear, TensorShard, combine
from narrows.kernels.sparse import LazyLinear, decode
from narrows.nets.dictionaries.token_norm import normalise, restore

__all__ = ["AffineEncoder", "Dictionary", "Rescaled", "SkipDictionary", "geometric_median", "spread"]

_IN_CACHE = 2**17
"""The number of matrix elements that stay in a core's cache between two passes."""


class Rescaled:
    """A bottleneck that supports rescaled pre-activations, so that scales can be folded into the encoder."""

    elementwise: ClassVar[bool] = False
    """True if each latent depends only on its own pre-activation (ReLU, but not TopK)."""

    def rescale(self, factor: Tensor) -> None:
        """Adapt thresholds and similar quantities to pre-activations that are multiplied by `factor`.

        Args:
            factor: a scalar, or one factor per latent, (N,).
        """


class Dictionary(Part):
    r"""A linear decoder whose rows are atoms: :math:`\hat x = (z A + b) / s`.

    With `unit_norm` every atom has norm 1: the gradient component along the atom is removed before each
        update, so
    that it does not enter the momentum, and the norm is restored after it. Before training, b is set to the
    geometric median of the data, and with `normalise`, s scales the data to mean square 1 around it. After
    training the scale is folded into the weights: the latents are then in units of the data, and s is 1.

    Args:
        latents: number of atoms, N.
        shape: shape of the output for one code; (layers, D) for atoms that span layers. If an example
            consists of several such outputs (pooled layers), each counts as one row.
        unit_norm: constrain every atom to norm 1.
        normalise: scale the data, so that the same learning rates suit all data.
        token_norm: the norm of each example that `AffineEncoder` applies and this reverts, of
            `TOKEN_NORMS`. The input is then a pair of the code and the norm's shifts and scales.
        by_norm: codes are in units of the atoms' norms, and are divided by them.

    Example:
        >>> Dictionary(16, (2, 3))(Sparse(torch.tensor([[3]]), torch.tensor([[2.0]]), 16)).shape
        torch.Size([1, 2, 3])

    Reference:
        Gao et al., Scaling and evaluating sparse autoencoders, 2024, appendix A. arXiv:2406.04093
    """

    scale: Tensor
    splits = ("atoms",)
    shard: TensorShard | None = None

    def __init__(
        self,
        latents: int,
        shape: tuple[int, ...],
        *,
        unit_norm: bool = True,
        normalise: bool = False,
        token_norm: str = "none",
        by_norm: bool = False,
    ) -> None:
        super().__init__()
        self.shape, self.unit_norm, self.normalise = tuple(shape), unit_norm, normalise
        self.token_norm, self.by_norm = token_norm, by_norm
        self.atoms = nn.Parameter(_directions(latents, shape))
        self.bias = nn.Parameter(torch.zeros(math.prod(shape)))
        self.register_buffer("scale", torch.ones(()))

    def forward(self, z: Tree, condition: Condition = NO_CONDITION) -> Tensor:
        """Decode codes (*samples, B, N), sparse or dense, to (*samples, B, *shape)."""
        z, moments = (z, None) if self.token_norm == "none" else z
        return self._restored(self._sum(z) + self.bias, moments)

    def combine(self, z: Sparse | Tensor) -> Tensor:
        """The weighted sum of atoms without the bias, (*samples, B, *shape)."""
        return self._shaped(self._sum(z))

    def lengths(self) -> Tensor:
        """The norm of each atom, differentiable, (N,)."""
        return torch.linalg.vector_norm(self.atoms, dim=1)

    def _sum(self, z: Sparse | Tensor) -> Tensor:
        if self.by_norm:
            lengths = self.lengths()
            z = replace(z, values=z.values / lengths[z.indices]) if isinstance(z, Sparse) else z / lengths
        if self.shard is not None:
            return combine(z, self.atoms, self.shard)
        return decode(z, self.atoms) if isinstance(z, Sparse) else z @ self.atoms

    def _restored(self, flat: Tensor, moments: Tensor | None) -> Tensor:
        shaped = self._shaped(flat)
        if moments is None:
            return shaped
        return restore(shaped, moments.reshape(*moments.shape[:-1], *[1] * (len(self.shape) - 1), 2))

    def _shaped(self, flat: Tensor) -> Tensor:
        if self.normalise:
            flat = flat / self.scale
        return flat if len(self.shape) == 1 else flat.unflatten(-1, self.shape)

    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """Initialise the scale and the bias from the targets."""
        target = batch.target.reshape(-1, len(self.bias)).to(self.bias.dtype)
        if self.token_norm != "none":
            target, _ = normalise(target, self.token_norm)
        centre = geometric_median(target)
        if self.normalise:
            self.scale.copy_(1 / spread(target, centre))
        self.bias.copy_(centre * self.scale)

    def before_update(self) -> None:
        """Remove the component along the atom from each atom's gradient."""
        if self.unit_norm and self.atoms.grad is not None:
            # On CPU a few rows at a time, so that they stay in the cache between the two passes.
            rows = max(1, _IN_CACHE // self.atoms.shape[1]) if self.atoms.is_cpu else len(self.atoms)
            for grad, atoms in zip(self.atoms.grad.split(rows), self.atoms.detach().split(rows), strict=True):
                grad.addcmul_((grad * atoms).sum(1, keepdim=True), atoms, value=-1)

    def after_step(self, passed: Pass) -> None:
        """Restore the norm 1 of each atom."""
        if self.unit_norm:
            self.atoms.div_(self.atoms.norm(dim=1, keepdim=True).clamp_min(1e-12))

    def finish(self, model: Autoencoder) -> None:
        """Fold the scales into the weights, and the norms of unconstrained atoms into the latents.

        Norms are not folded if latents compete (TopK), since that would change the selection, nor with a tied
        encoder. Nothing is folded if the encoder is not affine, or the bottleneck is not `Rescaled`.
        """
        encoder, bottleneck = model.encoder, model.bottleneck
        if not isinstance(encoder, AffineEncoder) or not isinstance(bottleneck, Rescaled):
            return
        self._fold(encoder.scale)
        factors = [1 / self.scale]
        free = not (self.unit_norm or self.by_norm or encoder.tied)
        if free and bottleneck.elementwise:
            lengths = self.lengths()
            factors.append(torch.where(lengths > 0, lengths, torch.ones_like(lengths)))
            self.atoms.div_(factors[1].unsqueeze(1))
        for factor in factors:
            encoder.rescale(factor)
            bottleneck.rescale(factor)
        self.scale.fill_(1.0)

    def _fold(self, input_scale: Tensor) -> None:
        """Fold the scale into the bias; the encoder has multiplied its input by `input_scale`."""
        self.bias.div_(float(self.scale))

    def metrics(self, model: Autoencoder, passed: Pass) -> Mapping[str, Tensor | Accumulator]:
        """The coherence of the atoms."""
        return {} if self.shard is not None else {"coherence": Coherence(self.atoms)}


class SkipDictionary(Dictionary):
    r"""A dictionary with a linear skip connection: :math:`\hat x = (z A + r S + b) / s`.

    S starts at 0. The input is a pair (z, r), with r from `AffineEncoder(skip=True)`.

    Args:
        latents: number of atoms, N.
        shape: shape of the output for one code.
        width: dimension of r.
        unit_norm: constrain every atom to norm 1.
        normalise: scale the data.
        by_norm: codes are in units of the atoms' norms.

    Reference:
        Paulo, Shabalin, Belrose, Transcoders Beat Sparse Autoencoders for Interpretability, 2025.
        arXiv:2501.18823
    """

    def __init__(
        self,
        latents: int,
        shape: tuple[int, ...],
        width: int,
        *,
        unit_norm: bool = True,
        normalise: bool = False,
        by_norm: bool = False,
    ) -> None:
        super().__init__(latents, shape, unit_norm=unit_norm, normalise=normalise, by_norm=by_norm)
        self.skip = nn.Parameter(torch.zeros(width, math.prod(shape)))

    def forward(self, z: Tree, condition: Condition = NO_CONDITION) -> Tensor:
        """Decode pairs of codes (*samples, B, N) and skip inputs (*samples, B, width)."""
        z, residual = z
        return self._shaped(self._sum(z) + residual @ self.skip + self.bias)

    def _fold(self, input_scale: Tensor) -> None:
        super()._fold(input_scale)
        self.skip.mul_(float(input_scale / self.scale))


class AffineEncoder(Part):
    """A linear encoder ``(s x - shift) W' + b``, returned as a `LazyLinear` that the bottleneck evaluates.

    Args:
        latents: number of latents, N.
        shape: shape of one input.
        centre: the dictionary whose bias is subtracted from the input, and whose atoms initialise W. None if
            input and output are in different spaces, as in a transcoder; then b is initialised such that the
            pre-activations at the data's median are 0.
        normalise: scale the input as `Dictionary` scales the output.
        tied: use `centre`'s atoms as W throughout, without subtracting its bias.
        skip: return the pair of the pre-activations and the (scaled) input, for a `SkipDictionary`.
        subtract: subtract the bias of `centre`.
        token_norm: normalise each example, a norm of `TOKEN_NORMS`. With `centre`, the pair of the
            pre-activations and the norm's shifts and scales is returned, for its dictionary.
        norms_of: the dictionary with whose atoms' norms the pre-activations are multiplied, or None.

    Example:
        >>> AffineEncoder(16, (2, 3))(torch.ones(5, 2, 3)).dense().shape
        torch.Size([5, 16])
    """

    scale: Tensor
    splits = ("weight", "bias")
    shard: TensorShard | None = None

    def __init__(
        self,
        latents: int,
        shape: tuple[int, ...],
        *,
        centre: Dictionary | None = None,
        normalise: bool = False,
        tied: bool = False,
        skip: bool = False,
        subtract: bool = True,
        token_norm: str = "none",
        norms_of: Dictionary | None = None,
    ) -> None:
        super().__init__()
        self.normalise, self.tied, self.skip = normalise, tied, skip
        self.subtract, self.token_norm = subtract and not tied, token_norm
        weight = _directions(latents, shape) if centre is None else centre.atoms.detach().clone()
        self.weight = None if tied else nn.Parameter(weight)
        self.bias = nn.Parameter(torch.zeros(latents))
        self.register_buffer("scale", torch.ones(()))
        self._centre = None if centre is None else ModuleReference(centre)
        self._norms_of = None if norms_of is None else ModuleReference(norms_of)

    @property
    def shift(self) -> Tensor | None:
        """The vector subtracted from the input, (D,), or None."""
        return self._centre.module.bias if self._centre is not None and self.subtract else None

    @property
    def rows(self) -> Tensor:
        """W, one row per latent, (N, D): its own, or the dictionary's atoms."""
        if self.weight is not None:
            return self.weight
        assert self._centre is not None
        return self._centre.module.atoms

    def forward(self, x: Tree, condition: Condition = NO_CONDITION) -> LazyLinear | tuple[LazyLinear, Tensor]:
        """The lazy pre-activations (B, N) of inputs (B, *shape)."""
        around = x = x.reshape(-1, self.rows.shape[1])
        if self.token_norm != "none":
            x, moments = normalise(x, self.token_norm)
            around = around if self._centre is None else moments
        if self.normalise:
            x = x * self.scale
            around = x if self.skip and self.token_norm == "none" else around
        weight: Tensor = self.rows
        bias: Tensor = self.bias
        if self._norms_of is not None:
            lengths = self._norms_of.module.lengths()
            weight, bias = weight * lengths.unsqueeze(1), bias * lengths
        pre = LazyLinear(x, weight, bias, self.shift)
        if self.shard is not None:
            pre = SplitLinear.of(pre, self.shard)
        restored = self._centre is not None and self.token_norm != "none"
        return (pre, around) if self.skip or restored else pre

    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """Initialise the scale, and without `centre` the bias, from the inputs."""
        x = batch.x.reshape(-1, self.rows.shape[1]).to(self.bias.dtype)
        if self.token_norm != "none":
            x, _ = normalise(x, self.token_norm)
        centre = geometric_median(x)
        if self.normalise:
            self.scale.copy_(1 / spread(x, centre))
        if self.shift is None:
            self.bias.copy_(-(self.rows @ (centre * self.scale)))

    def amplify(self, factor: Tensor) -> None:
        """Multiply the pre-activations by `factor`, a scalar or (N,), without those of a tied encoder."""
        if self.weight is not None:
            self.weight.mul_(factor if factor.ndim == 0 else factor.unsqueeze(-1))
            self.bias.mul_(factor)

    def rescale(self, factor: Tensor) -> None:
        """Fold the input scale into the weights, and multiply the pre-activations by `factor`.

        The dictionary calls this when it folds its own scale into its bias, which is subtracted here.

        Args:
            factor: a scalar, or one for each latent, (N,).
        """
        both = factor * self.scale
        scalar = factor.ndim == 0  # Python floats also work with sharded parameters (FSDP)
        if self.weight is not None:
            self.weight.mul_(float(both) if scalar else both.unsqueeze(-1))
        self.bias.mul_(float(factor) if scalar else factor)
        self.scale.fill_(1.0)


def _directions(latents: int, shape: tuple[int, ...]) -> Tensor:
    """Random rows of norm 1; without values on the meta device, where they would import torch's compiler (2 s)."""
    if torch.get_default_device().type == "meta":
        return torch.empty(latents, math.prod(shape))
    return F.normalize(torch.randn(latents, math.prod(shape)), dim=1)


def geometric_median(x: Tensor, iterations: int = 100, tolerance: float = 1e-6) -> Tensor:
    r"""The geometric median :math:`\arg\min_c \sum_b |x_b - c|`, by Weiszfeld's algorithm.

    Args:
        x: points, (B, D).
        iterations: the maximum number of iterations.
        tolerance: stop when a step is shorter than this fraction of the mean distance.

    Returns:
        (D,).

    Example:
        >>> geometric_median(torch.tensor([[0.0], [1.0], [50.0]])).round(decimals=3)
        tensor([1.])
    """
    centre = x.mean(0)
    for _ in range(iterations):
        distance = torch.linalg.vector_norm(x - centre, dim=1)
        mean = distance.mean()
        weight = 1 / distance.clamp_min(1e-6 * mean + torch.finfo(x.dtype).tiny)
        moved = weight @ x / weight.sum()
        small = torch.linalg.vector_norm(moved - centre) <= tolerance * mean
        centre = moved
        if small:
            break
    return centre


def spread(x: Tensor, centre: Tensor) -> Tensor:
    """The root mean square of the elements of x (B, D) around a centre (D,); 1 if they are constant."""
    size = (x - centre).square().mean().sqrt()
    return torch.where(size > 0, size, torch.ones_like(size))
