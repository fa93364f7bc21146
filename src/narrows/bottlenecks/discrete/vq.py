"""Vector quantisation: each token is replaced by the nearest code of a learned codebook."""

from __future__ import annotations

import torch
from torch import Tensor

from narrows.bottlenecks.discrete.codebooks import CODEBOOKS
from narrows.bottlenecks.discrete.codebooks.base import Codebook
from narrows.bottlenecks.discrete.quantizer import GRADIENTS, Quantised, Quantizer
from narrows.core import Autoencoder, Batch, Pass
from narrows.core.check import choice, refuse
from narrows.core.evidence import Indices

__all__ = ["VectorQuantizer"]


class VectorQuantizer(Quantizer):
    r"""The nearest of K learned codes.

    .. math:: k_l = \arg\min_k \|x_l - e_k\|^2,\qquad
              \mathrm{commitment} = \sum_l \|x_l - \mathrm{sg}(e_{k_l})\|^2,\qquad
              \mathrm{codebook} = \sum_l \|\mathrm{sg}(x_l) - e_{k_l}\|^2

    The codebook decides how codes are learned. The cost ``codebook`` exists only where they are learned by
    gradient descent. With ``codebook="ema"`` they are EMAs of the tokens assigned to them; for the update and
    the restarts see `LearnedCodebook`. Further codebooks are in `narrows.bottlenecks.discrete.codebooks`.

    The costs are sums over the L tokens, as the distortion is a sum over pixels, so that their weight does
    not depend on the size of the grid; the paper takes the mean.

    The codebook is initialised with the k-means centres of a first batch.

    Args:
        features: width of the encoder's tokens.
        codes: size of the codebook, K.
        tokens: the number of tokens of an example, L.
        width: width of a code, d; that of the tokens if None.
        codebook: ``ema``, ``gradient``, another name with options (``linear:bias=no``), or a codebook of K
            codes of width d.
        decay: gamma, of codebooks with EMAs.
        gradient: the gradient estimator: ``straight-through`` or ``rotation``.
        restart: the threshold of dead codes as a share of the mean count, from 0 (never restart) to 0.5, of
            codebooks with restarts.
        start: initialisation of the codes: ``kmeans``, or ``normal``: draws from N(0, 1/d). A codebook that
            has no free codes starts in its own way.

    Raises:
        RequestError: an argument out of range.

    Example:
        >>> vq = VectorQuantizer(4, codes=16, tokens=9)
        >>> code = vq(torch.randn(2, 9, 4))
        >>> code[Indices].indices.shape, bool((vq.from_symbols(vq.to_symbols(code)).z == code.z).all())
        (torch.Size([2, 9]), True)

    Reference:
        van den Oord, Vinyals, Kavukcuoglu, Neural Discrete Representation Learning, 2017, section 3 and
        appendix A. arXiv:1711.00937. Restarts: Dhariwal et al., Jukebox, 2020, section 3.1. arXiv:2005.00341
    """

    def __init__(
        self,
        features: int,
        *,
        codes: int,
        tokens: int,
        width: int | None = None,
        codebook: str | Codebook = "ema",
        decay: float = 0.99,
        gradient: str = "straight-through",
        restart: float = 0.03,
        start: str = "kmeans",
    ) -> None:
        super().__init__(features, features if width is None else width, codes, tokens)
        self.passes = GRADIENTS[choice("gradient", gradient, tuple(GRADIENTS))]
        self.kmeans = choice("start", start, ("kmeans", "normal")) == "kmeans"
        self.book = CODEBOOKS.make(codebook, codes=self.codes, width=self.width, decay=decay, restart=restart)
        if (self.book.codes, self.book.width) != (self.codes, self.width):
            found = f"{self.book.codes} codes of width {self.book.width}"
            raise refuse("codebook", found, f"{self.codes} codes of width {self.width}")

    def quantize(self, tokens: Tensor) -> Quantised:
        """Replace tokens (B, L, d) by their nearest codes, and compute the costs."""
        indices = self.book.nearest(tokens)
        q = self.book.vectors(indices)
        return Quantised(self.passes(tokens, q), indices, self.book.costs(tokens, q))

    def vectors(self, indices: Tensor) -> Tensor:
        """The codes of indices, (...) -> (..., d)."""
        return self.book.vectors(indices)

    @torch.no_grad()
    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """Initialise the codes with the k-means centres of a batch's tokens."""
        if self.kmeans:
            self.book.begin(self.inward(model.encoder(batch.x, batch.condition)))

    @torch.no_grad()
    def after_step(self, passed: Pass) -> None:
        """Update the codebook with the tokens assigned to each code."""
        found = passed.code[Indices]
        assert found.tokens is not None
        self.book.learn(found.tokens, found.indices)
