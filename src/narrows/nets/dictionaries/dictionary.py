"""The two linear halves of every sparse autoencoder: a lazy encoder, and a dictionary of atoms.

Where the parts meet. The encoder owns W and b, yet it must not multiply: whether all pre-activations are wanted, or
the largest only, is the bottleneck's to say, and a top-k that is computed together with the product needs neither
the dense matrix nor its gradient. So the features of `AffineEncoder` are a `LazyLinear`, the triple (x, W, b) as
a promise::

    x --AffineEncoder--> LazyLinear --TopK--> Code(z=Sparse) --Dictionary--> x_hat       k-sparse both ways
                                --ReLU--> Code(z=Tensor) --Dictionary--> x_hat       dense, the same two halves

Each part keeps its duty, and each later relative costs one file: another bottleneck (gated, JumpReLU, BatchTopK),
another shape (a crosscoder's atoms span layers), another objective (Matryoshka prefixes).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
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
from narrows.core.borrowed import Borrowed
from narrows.kernels.metrics import Coherence
from narrows.kernels.parallel import SplitLinear, TensorShard, combine
from narrows.kernels.sparse import LazyLinear, decode

__all__ = ["AffineEncoder", "Dictionary", "Rescaled", "SkipDictionary", "geometric_median", "spread"]

_IN_CACHE = 2**17
"""Elements of a matrix that stay in a core's cache from one pass over them to the next."""


class Rescaled:
    """A bottleneck that follows when the units of its pre-activations change, as they do when scales are folded."""

    elementwise: ClassVar[bool] = False
    """True where each latent passes by its own pre-activation alone, however large the others are."""

    def rescale(self, factor: Tensor) -> None:
        """From now on pre-activations come `factor` times as large: thresholds and the like must follow.

        Args:
            factor: a scalar, where units change; or one for each latent, (N,), where lengths of atoms do.
        """


class Dictionary(Part):
    r"""A linear decoder whose rows are atoms: :math:`\hat x = (z A + b) / s`.

    With `unit_norm` every atom has length 1: the part of its gradient along it is removed before each update, so
    that momentum does not fight the constraint, and the length is restored afterwards. Before training, b becomes
    the geometric median of the data, and s, with `normalise`, makes their mean square 1 around it. After training
    the scale is folded into the weights: the latents are then in units of the data, and s is 1.

    Args:
        latents: how many atoms, N.
        shape: shape of what one code decodes to; (layers, D) for atoms that span layers. Where an example is several
            of them (pooled layers), each counts as a row of its own.
        unit_norm: hold every atom at length 1.
        normalise: scale the data, so that learning rates mean the same on all.

    Example:
        >>> Dictionary(16, (2, 3))(Sparse(torch.tensor([[3]]), torch.tensor([[2.0]]), 16)).shape
        torch.Size([1, 2, 3])

    Reference:
        Gao et al., Scaling and evaluating sparse autoencoders, 2024, appendix A. arXiv:2406.04093
    """

    scale: Tensor
    splits = ("atoms",)
    cut: TensorShard | None = None

    def __init__(
        self, latents: int, shape: tuple[int, ...], *, unit_norm: bool = True, normalise: bool = False
    ) -> None:
        super().__init__()
        self.shape, self.unit_norm, self.normalise = tuple(shape), unit_norm, normalise
        self.atoms = nn.Parameter(_directions(latents, shape))
        self.bias = nn.Parameter(torch.zeros(math.prod(shape)))
        self.register_buffer("scale", torch.ones(()))

    def forward(self, z: Tree, condition: Condition = NO_CONDITION) -> Tensor:
        """Decode codes (*samples, B, N), sparse or dense, to (*samples, B, *shape)."""
        return self._shaped(self._sum(z) + self.bias)

    def combine(self, z: Sparse | Tensor) -> Tensor:
        """The weighted sum of atoms alone, without the bias: what some latents add, (*samples, B, *shape)."""
        return self._shaped(self._sum(z))

    def lengths(self) -> Tensor:
        """The length of each atom, with its gradient, (N,)."""
        return torch.linalg.vector_norm(self.atoms, dim=1)

    def _sum(self, z: Sparse | Tensor) -> Tensor:
        if self.cut is not None:
            return combine(z, self.atoms, self.cut)
        return decode(z, self.atoms) if isinstance(z, Sparse) else z @ self.atoms

    def _shaped(self, flat: Tensor) -> Tensor:
        if self.normalise:
            flat = flat / self.scale
        return flat if len(self.shape) == 1 else flat.unflatten(-1, self.shape)

    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """Set the scale and the bias from what must be produced."""
        target = batch.target.reshape(-1, len(self.bias)).to(self.bias.dtype)
        centre = geometric_median(target)
        if self.normalise:
            self.scale.copy_(1 / spread(target, centre))
        self.bias.copy_(centre * self.scale)

    def before_update(self) -> None:
        """Remove from each atom's gradient what points along the atom."""
        if self.unit_norm and self.atoms.grad is not None:
            # On a CPU a few rows at a time, which stay in the cache between the two passes.
            rows = max(1, _IN_CACHE // self.atoms.shape[1]) if self.atoms.is_cpu else len(self.atoms)
            for grad, atoms in zip(self.atoms.grad.split(rows), self.atoms.detach().split(rows), strict=True):
                grad.addcmul_((grad * atoms).sum(1, keepdim=True), atoms, value=-1)

    def after_step(self, passed: Pass) -> None:
        """Give each atom length 1 again."""
        if self.unit_norm:
            self.atoms.div_(self.atoms.norm(dim=1, keepdim=True).clamp_min(1e-12))

    def finish(self, model: Autoencoder) -> None:
        """Fold the scales into the weights, then the lengths of free atoms into the latents.

        Lengths stay where latents compete (TopK): with others, others would win. They stay with a tied encoder too,
        and nothing is folded around an encoder that is not affine, or a bottleneck that is not `Rescaled`.
        """
        encoder, bottleneck = model.encoder, model.bottleneck
        if not isinstance(encoder, AffineEncoder) or not isinstance(bottleneck, Rescaled):
            return
        self._fold(encoder.scale)
        factors = [1 / self.scale]
        if not self.unit_norm and not encoder.tied and bottleneck.elementwise:
            lengths = self.lengths()
            factors.append(torch.where(lengths > 0, lengths, torch.ones_like(lengths)))
            self.atoms.div_(factors[1].unsqueeze(1))
        for factor in factors:
            encoder.rescale(factor)
            bottleneck.rescale(factor)
        self.scale.fill_(1.0)

    def _fold(self, seen: Tensor) -> None:
        """Take the scale into what is added to the atoms; the encoder has scaled its input by `seen`."""
        self.bias.div_(float(self.scale))

    def metrics(self, model: Autoencoder, passed: Pass) -> Mapping[str, Tensor | Accumulator]:
        """The largest absolute cosine of two atoms."""
        return {} if self.cut is not None else {"coherence": Coherence(self.atoms)}


class SkipDictionary(Dictionary):
    r"""A dictionary that adds a linear map of what goes around the code: :math:`\hat x = (z A + r S + b) / s`.

    S starts at 0. It reads pairs (z, r), which `AffineEncoder(around=True)` begins.

    Args:
        latents: how many atoms, N.
        shape: shape of what one code decodes to.
        width: how many numbers r has.
        unit_norm: hold every atom at length 1.
        normalise: scale the data.

    Reference:
        Paulo, Shabalin, Belrose, Transcoders Beat Sparse Autoencoders for Interpretability, 2025. arXiv:2501.18823
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
        self.skip = nn.Parameter(torch.zeros(width, math.prod(shape)))

    def forward(self, z: Tree, condition: Condition = NO_CONDITION) -> Tensor:
        """Decode pairs of codes (*samples, B, N) and what goes around them (*samples, B, width)."""
        z, around = z
        return self._shaped(self._sum(z) + around @ self.skip + self.bias)

    def _fold(self, seen: Tensor) -> None:
        super()._fold(seen)
        self.skip.mul_(float(seen / self.scale))


class AffineEncoder(Part):
    """A linear encoder that leaves the product to the bottleneck: ``(s x - shift) W' + b`` is not computed yet.

    Args:
        latents: how many latents, N.
        shape: shape of one input.
        centre: the dictionary whose bias is subtracted from the input (they are in one space), and whose atoms W
            starts from. None where input and output are different things, as in a transcoder; then b starts such
            that the pre-activations of the data's median are 0.
        normalise: scale the input as `Dictionary` scales the output.
        tied: W is `centre`'s atoms for good, not only at first, and its bias is not subtracted.
        around: put out the pair of the pre-activations and the (scaled) input, for a `SkipDictionary`.

    Example:
        >>> AffineEncoder(16, (2, 3))(torch.ones(5, 2, 3)).dense().shape
        torch.Size([5, 16])
    """

    scale: Tensor
    splits = ("weight", "bias")
    cut: TensorShard | None = None

    def __init__(
        self,
        latents: int,
        shape: tuple[int, ...],
        *,
        centre: Dictionary | None = None,
        normalise: bool = False,
        tied: bool = False,
        around: bool = False,
    ) -> None:
        super().__init__()
        self.normalise, self.tied, self.around = normalise, tied, around
        weight = _directions(latents, shape) if centre is None else centre.atoms.detach().clone()
        self.weight = None if tied else nn.Parameter(weight)
        self.bias = nn.Parameter(torch.zeros(latents))
        self.register_buffer("scale", torch.ones(()))
        self._centre = None if centre is None else Borrowed(centre)

    @property
    def shift(self) -> Tensor | None:
        """What is subtracted from the input, (D,), or None."""
        return None if self._centre is None or self.tied else self._centre.module.bias

    @property
    def rows(self) -> Tensor:
        """W, one row a latent, (N, D): its own or the dictionary's."""
        if self.weight is not None:
            return self.weight
        assert self._centre is not None
        return self._centre.module.atoms

    def forward(self, x: Tree, condition: Condition = NO_CONDITION) -> LazyLinear | tuple[LazyLinear, Tensor]:
        """Promise the pre-activations (B, N) of inputs (B, *shape)."""
        x = x.reshape(-1, self.rows.shape[1])
        if self.normalise:
            x = x * self.scale
        pre = LazyLinear(x, self.rows, self.bias, self.shift)
        if self.cut is not None:
            pre = SplitLinear.of(pre, self.cut)
        return (pre, x) if self.around else pre

    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """Set the scale, and without a common centre the bias, from what is seen."""
        x = batch.x.reshape(-1, self.rows.shape[1]).to(self.bias.dtype)
        centre = geometric_median(x)
        if self.normalise:
            self.scale.copy_(1 / spread(x, centre))
        if self.shift is None:
            self.bias.copy_(-(self.rows @ (centre * self.scale)))

    def rescale(self, factor: Tensor) -> None:
        """From now on take the data as they are, and give pre-activations `factor` times as large.

        The dictionary calls this when it takes its own scale into its bias, which is what is subtracted here.

        Args:
            factor: a scalar, or one for each latent, (N,).
        """
        both = factor * self.scale
        alike = factor.ndim == 0  # then as numbers, which parameters in pieces (FSDP) take too
        if self.weight is not None:
            self.weight.mul_(float(both) if alike else both.unsqueeze(-1))
        self.bias.mul_(float(factor) if alike else factor)
        self.scale.fill_(1.0)


def _directions(latents: int, shape: tuple[int, ...]) -> Tensor:
    """Random rows of length 1."""
    return F.normalize(torch.randn(latents, math.prod(shape)), dim=1)


def geometric_median(x: Tensor, iterations: int = 100, tolerance: float = 1e-6) -> Tensor:
    r"""The point with the least sum of distances, :math:`\arg\min_c \sum_b |x_b - c|`, by Weiszfeld's iteration.

    Args:
        x: points, (B, D).
        iterations: at most so many.
        tolerance: stop where a step is shorter than this share of the mean distance.

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
    """The root mean square of the elements of x (B, D) around a centre (D,); 1 where they do not vary."""
    size = (x - centre).square().mean().sqrt()
    return torch.where(size > 0, size, torch.ones_like(size))
