"""AbsTopK: the k latents of largest size pass, with their signs."""

from __future__ import annotations

from torch import Tensor

from narrows.bottlenecks.sparse.topk import TopK
from narrows.core import Sparse
from narrows.kernels.batch import largest
from narrows.kernels.sparse import LazyLinear

__all__ = ["AbsTopK"]


class AbsTopK(TopK):
    r"""Keep the k pre-activations of largest size of each example, signed: :math:`z = H_k(h)`.

    .. math:: H_k(h)_n = h_n\, 1[\,|h_n| \text{ is among the } k \text{ largest of } |h|\,]

    This is one proximal step of sparse coding under a constraint on L0 alone; TopK is the same with non-negative
    codes. One latent can then carry both poles of a concept. Compare its atoms with known directions by the size of
    the cosine.

    Args:
        latents: how many latents, N.
        k: how many of them may be on in one example.

    Example:
        >>> AbsTopK(4, 2)(torch.tensor([[3.0, -4.0, 2.0, 1.0]])).z.dense()
        tensor([[ 3., -4.,  0.,  0.]])

    Reference:
        Zhu, Khalili, Zhu, AbsTopK: Rethinking Sparse Autoencoders For Bidirectional Features, 2025. arXiv:2510.00404
    """

    def largest(self, pre: Tensor | LazyLinear, k: int) -> Sparse:
        """The k of largest size, with their signs."""
        return largest(pre, min(k, self.width))

    def nearest(self, pre: Tensor | LazyLinear, k: int) -> Sparse:
        """The k of some latents that have the largest size."""
        return largest(pre, k)
