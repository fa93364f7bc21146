"""TopK by influence: it counts what a latent does to the model's loss, not its size alone."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from narrows.bottlenecks.sparse.topk import TopK
from narrows.core import NO_CONDITION, Autoencoder, Batch, Condition, Sparse, Tree
from narrows.core.check import number
from narrows.core.reference import ModuleReference
from narrows.kernels.sparse import LazyLinear, select
from narrows.nets.dictionaries.dictionary import AffineEncoder, Dictionary

__all__ = ["InfluenceTopK", "Sloped", "SlopedEncoder"]


@dataclass(frozen=True)
class Sloped(LazyLinear):
    """A promise of pre-activations that comes with the gradient of a loss.

    Args:
        slope: the gradient with respect to what is encoded, (B, D), or None.
    """

    slope: Tensor | None = None


class SlopedEncoder(AffineEncoder):
    """A linear encoder that hands the gradient on beside the promise."""

    def forward(self, x: Tree, condition: Condition = NO_CONDITION) -> LazyLinear | tuple[LazyLinear, Tensor]:
        """Promise the pre-activations (B, N) of inputs (B, *shape), with their gradients (B, *shape) or None."""
        plain = super().forward(x, condition)
        assert isinstance(plain, LazyLinear)
        slope = condition.get("gradients")
        slope = None if slope is None else slope.flatten(1).to(plain.x.dtype)
        return Sloped(plain.x, plain.weight, plain.bias, plain.shift, slope)


class InfluenceTopK(TopK):
    r"""Keep k latents by size and by first-order effect on a loss; they keep their ordinary values.

    .. math:: z_j = \mathrm{ReLU}(h_j)\, 1[j \in \mathrm{top}_k], \qquad
        \text{ranked by } h_j + \beta\, h_j\, | a_j \cdot \nabla_x \mathcal{L} | / u

    u is the mean of the alignments :math:`| a_j \cdot \nabla_x \mathcal{L} |` before training, so that beta is free of
    the loss's units. The atoms in the ranking are not trained by it. Where no gradient is given, or it is 0 (nothing
    comes after the last token), latents are ranked by size alone.

    Args:
        latents: how many latents, N.
        k: how many of them may be on in one example.
        beta: how much the effect counts beside the size.

    Reference:
        Olmo et al., Features that Make a Difference, 2024. arXiv:2411.10397
    """

    usual: Tensor

    def __init__(self, latents: int, k: int, beta: float = 0.3) -> None:
        super().__init__(latents, k)
        self.beta = number("beta", beta, low=0)
        self.register_buffer("usual", torch.ones(()))
        self._dictionary: ModuleReference[Dictionary] | None = None

    def bind(self, dictionary: Dictionary) -> None:
        """Remember the atoms, whose alignment with the gradient counts."""
        self._dictionary = ModuleReference(dictionary)

    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """Measure the usual alignment of an atom with a gradient."""
        slope = batch.condition.get("gradients")
        if slope is not None and self._dictionary is not None:
            mean = self._aligned(slope.flatten(1)).mean()
            self.usual.copy_(torch.where(mean > 0, mean, 1.0))

    def largest(self, pre: Tensor | LazyLinear, k: int) -> Sparse:
        """The code of k latents by their rank."""
        if not isinstance(pre, Sloped) or pre.slope is None or self._dictionary is None:
            return super().largest(pre, k)
        h = pre.dense()
        with torch.no_grad():
            _, indices = select(h * (1 + self.beta * self._aligned(pre.slope) / self.usual), k)
        return Sparse(indices, h.gather(1, indices).relu(), self.width)

    def _aligned(self, slope: Tensor) -> Tensor:
        assert self._dictionary is not None
        atoms = self._dictionary.module.atoms
        return (slope.to(atoms.dtype) @ atoms.T).abs()
