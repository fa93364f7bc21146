"""TopK by activation and first-order effect on a model's loss."""

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
    """A lazy linear map together with the gradient of a loss.

    Args:
        slope: the gradient with respect to the encoder's input, (B, D), or None.
    """

    slope: Tensor | None = None


class SlopedEncoder(AffineEncoder):
    """A linear encoder that also passes the gradient on."""

    def forward(self, x: Tree, condition: Condition = NO_CONDITION) -> LazyLinear | tuple[LazyLinear, Tensor]:
        """The lazy pre-activations (B, N) of inputs (B, *shape), with gradients (B, *shape) if given."""
        plain = super().forward(x, condition)
        assert isinstance(plain, LazyLinear)
        slope = condition.get("gradients")
        slope = None if slope is None else slope.flatten(1).to(plain.x.dtype)
        return Sloped(plain.x, plain.weight, plain.bias, plain.shift, slope)


class InfluenceTopK(TopK):
    r"""Select k latents by activation and first-order effect on a loss; their values are the activations.

    .. math:: z_j = \mathrm{ReLU}(h_j)\, 1[j \in \mathrm{top}_k], \qquad
        \text{ranked by } h_j + \beta\, h_j\, | a_j \cdot \nabla_x \mathcal{L} | / u

    u is the mean of the alignments :math:`| a_j \cdot \nabla_x \mathcal{L} |` before training, so that beta
    does not depend on the loss's units. The ranking passes no gradient to the atoms. If the gradient is
    missing or 0 (as at the last token), latents are ranked by activation alone.

    Args:
        latents: number of latents, N.
        k: number of active latents of an example.
        beta: weight of the effect in the ranking.

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
        """Store the dictionary, whose atoms the ranking needs."""
        self._dictionary = ModuleReference(dictionary)

    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """Measure the mean alignment of the atoms with the gradients."""
        slope = batch.condition.get("gradients")
        if slope is not None and self._dictionary is not None:
            mean = self._aligned(slope.flatten(1)).mean()
            self.usual.copy_(torch.where(mean > 0, mean, 1.0))

    def largest(self, pre: Tensor | LazyLinear, k: int) -> Sparse:
        """The code of the k highest-ranked latents."""
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
