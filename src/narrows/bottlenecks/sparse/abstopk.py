"""AbsTopK: the k latents of largest magnitude are active, with their signs."""

from __future__ import annotations

from torch import Tensor

from narrows.bottlenecks.sparse.topk import TopK
from narrows.core import Sparse
from narrows.kernels.batch import largest
from narrows.kernels.sparse import LazyLinear

__all__ = ["AbsTopK"]


class AbsTopK(TopK):
    r"""Keep the k pre-activations of largest magnitude of each example, signed: :math:`z = H_k(h)`.

    .. math:: H_k(h)_n = h_n\, 1[\,|h_n| \text{ is among the } k \text{ largest of } |h|\,]

    This is one proximal step of sparse coding under an L0 constraint; TopK is the same with non-negative
    codes. A single latent can represent both poles of a concept. Compare its atoms with known directions by
    the absolute cosine.

    Args:
        latents: number of latents, N.
        k: number of active latents of an example.

    Example:
        >>> AbsTopK(4, 2)(torch.tensor([[3.0, -4.0, 2.0, 1.0]])).z.dense()
        tensor([[ 3., -4.,  0.,  0.]])

    Reference:
        Zhu, Khalili, Zhu, AbsTopK: Rethinking Sparse Autoencoders For Bidirectional Features, 2025.
        arXiv:2510.00404
    """

    def largest(self, pre: Tensor | LazyLinear, k: int) -> Sparse:
        """The k of largest magnitude, with their signs."""
        return largest(pre, min(k, self.width))

    def nearest(self, pre: Tensor | LazyLinear, k: int) -> Sparse:
        """The k latents of largest magnitude."""
        return largest(pre, k)
