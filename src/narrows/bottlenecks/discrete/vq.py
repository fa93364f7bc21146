"""Vector quantisation: each token is replaced by the nearest code of a learned codebook."""

from __future__ import annotations

import torch
from torch import Tensor

from narrows.bottlenecks.discrete.books import CodebookQuantizer
from narrows.bottlenecks.discrete.codebooks.base import Codebook
from narrows.bottlenecks.discrete.quantizer import Quantised
from narrows.core import Pass
from narrows.core.evidence import Indices

__all__ = ["VectorQuantizer"]


class VectorQuantizer(CodebookQuantizer):
    r"""The nearest of K learned codes.

    .. math:: k_l = \arg\min_k \|x_l - e_k\|^2,\qquad
              \mathrm{commitment} = \sum_l \|x_l - \mathrm{sg}(e_{k_l})\|^2,\qquad
              \mathrm{codebook} = \sum_l \|\mathrm{sg}(x_l) - e_{k_l}\|^2

    The codebook decides how codes are learned, started and restarted: see `narrows.bottlenecks.discrete.codebooks`.
    With ``ema`` they are moving averages of the tokens assigned to them, started from k-means centres of a first
    batch, see `LearnedCodebook`. The cost ``codebook`` exists only where they are learned by gradient descent.

    The costs are sums over the L tokens, as the distortion is a sum over pixels, so that their weight does
    not depend on the size of the grid; the paper takes the mean.

    Args:
        features: width of the encoder's tokens.
        codes: size of the codebook, K.
        tokens: the number of tokens of an example, L.
        width: width of a code, d; that of the tokens if None.
        codebook: ``ema``, ``gradient``, another name, with options (``ema:decay=0.9,start=normal``), or a codebook
            of K codes of width d.
        gradient: the gradient estimator: ``straight-through`` or ``rotation``.

    Raises:
        RequestError: an argument out of range.

    Example:
        >>> vq = VectorQuantizer(4, codes=16, tokens=9)
        >>> code = vq(torch.randn(2, 9, 4))
        >>> code[Indices].indices.shape, bool((vq.from_symbols(vq.to_symbols(code)).z == code.z).all())
        (torch.Size([2, 9]), True)

    Reference:
        van den Oord, Vinyals, Kavukcuoglu, Neural Discrete Representation Learning, 2017, section 3. arXiv:1711.00937
    """

    def __init__(
        self,
        features: int,
        *,
        codes: int,
        tokens: int,
        width: int | None = None,
        codebook: str | Codebook = "ema",
        gradient: str = "straight-through",
    ) -> None:
        super().__init__(features, features if width is None else width, codes, tokens)
        (self.book,) = self.make_books(codebook, gradient, self.width)

    def quantize(self, tokens: Tensor) -> Quantised:
        """Replace tokens (B, L, d) by their nearest codes, and compute the costs."""
        indices = self.book.nearest(tokens)
        q = self.book.vectors(indices)
        return Quantised(self.passes(tokens, q), indices, self.book.costs(tokens, q))

    def vectors(self, indices: Tensor) -> Tensor:
        """The codes of indices, (...) -> (..., d)."""
        return self.book.vectors(indices)

    def begin(self, tokens: Tensor) -> None:
        """Start the codes from the tokens (B, L, d) of a first batch."""
        self.book.begin(tokens)

    @torch.no_grad()
    def after_step(self, passed: Pass) -> None:
        """Update the codebook with the tokens assigned to each code."""
        found = passed.code[Indices]
        assert found.tokens is not None
        self.book.learn(found.tokens, found.indices)
