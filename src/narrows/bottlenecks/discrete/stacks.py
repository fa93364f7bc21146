"""The base class of the quantizers that describe each token by a stack of indices."""

from __future__ import annotations

import torch
from torch import Tensor

from narrows.bottlenecks.discrete.quantizer import Quantizer
from narrows.core import Symbols
from narrows.core.check import whole

__all__ = ["StackQuantizer"]


class StackQuantizer(Quantizer):
    r"""Each token is the sum of D vectors, one of K at each depth: :math:`\hat z = \sum_d e_d(k_d)`.

    A subclass defines `quantize` and `codes_at`. The first indices of a stack alone can be decoded.

    Args:
        features: width of the encoder's tokens.
        width: width of the codes, d.
        codes: the number of codes at each depth, K.
        tokens: the number of tokens of an example, L.
        depth: the number of codes of a token, D.

    Raises:
        RequestError: a size that is not an integer of at least 1.
    """

    def __init__(self, features: int, width: int, codes: int, tokens: int, depth: int) -> None:
        super().__init__(features, width, codes, tokens)
        self.depth = whole("depth", depth)

    @property
    def symbols(self) -> Symbols:
        """The shape and range of the indices, D for each token."""
        return Symbols((self.tokens, self.depth), self.codes, self.layout)

    def codes_at(self, level: int, indices: Tensor) -> Tensor:
        """The vectors of indices of one depth, counting from 0: (...) -> (..., d)."""
        raise NotImplementedError(f"{type(self).__name__} must define codes_at")

    def code_vectors(self) -> Tensor | None:
        """The vectors of all codes of each depth, (D, K, d)."""
        return torch.stack([self.codes_at(level, self._every) for level in range(self.depth)])

    def vectors(self, indices: Tensor) -> Tensor:
        """The sums of the codes of indices, (..., D) or only the first of each stack, -> (..., d)."""
        return self._sums(indices)[-1]

    def partial(self, indices: Tensor) -> list[Tensor]:
        """The sums of the first 1, ..., D codes of indices."""
        return self._sums(indices)

    def _sums(self, indices: Tensor) -> list[Tensor]:
        sums = [self.codes_at(0, indices[..., 0])]
        for level in range(1, indices.shape[-1]):
            sums.append(sums[-1] + self.codes_at(level, indices[..., level]))
        return sums

    @torch.no_grad()
    def truncated(self, indices: Tensor, depth: int) -> Tensor:
        """What the decoder reads for the first indices of stacks: (B, L, D) -> (B, L, features).

        Args:
            indices: of all depths.
            depth: how many of each stack are read, from 1 to D.
        """
        z: Tensor = self.outward(self.vectors(indices[..., : whole("depth", depth, high=self.depth)]))
        return z
