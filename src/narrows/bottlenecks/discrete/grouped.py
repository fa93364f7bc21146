"""Quantisation of groups of a token's channels by one codebook, or by one for each group or place."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from narrows.bottlenecks.discrete.books import CodebookQuantizer, added
from narrows.bottlenecks.discrete.codebooks.base import Codebook
from narrows.bottlenecks.discrete.quantizer import Quantised
from narrows.core import Pass, Symbols
from narrows.core.check import choice, refuse, whole
from narrows.core.evidence import Indices

__all__ = ["GroupedQuantizer"]

_AXIS = {"one": None, "group": 2, "token": 1}
"""The axis of (B, L, G, *) along which there are several codebooks."""


class GroupedQuantizer(CodebookQuantizer):
    r"""Each of G groups of a token's channels is replaced by the nearest code of its codebook.

    .. math:: x_l = (x_{l1}, \ldots, x_{lG}),\qquad k_{lg} = \arg\min_k \|x_{lg} - e^{b(l,g)}_k\|^2,\qquad
              \mathrm{commitment} = \sum_{l,g} \|x_{lg} - \mathrm{sg}(e_{k_{lg}})\|^2

    b(l, g) is the codebook: one for all groups of all tokens, one per group (product quantisation: G codebooks of K
    codes describe K^G vectors with the memory of K), or one per token.

    Args:
        features: width of the encoder's tokens.
        codes: size of a codebook, K.
        tokens: the number of tokens of an example, L.
        groups: the number of groups of a token, G; with 1 the symbols are indices (L,), else stacks (L, G).
        books: ``one`` codebook for all, or one per ``group`` or per ``token``.
        width: width of all groups together, a multiple of G; that of the tokens if None.
        codebook: the text of each codebook, such as ``ema`` or ``gradient:restart=0``; or a codebook, if there is
            one.
        gradient: the gradient estimator: ``straight-through`` or ``rotation``.

    Raises:
        RequestError: an argument out of range.

    Example:
        >>> vq = GroupedQuantizer(8, codes=16, tokens=9, groups=4)
        >>> code = vq(torch.randn(2, 9, 8))
        >>> vq.to_symbols(code).shape, bool((vq.from_symbols(vq.to_symbols(code)).z == code.z).all())
        (torch.Size([2, 9, 4]), True)

    Reference:
        One codebook for all groups: Zheng et al., MoVQ, 2022. arXiv:2209.09002. One per group: Jegou, Douze, Schmid,
        Product Quantization for Nearest Neighbor Search, 2011. doi:10.1109/TPAMI.2010.57. One per token: Elsner et al.,
        Quantised Global Autoencoder, 2024. arXiv:2407.11913
    """

    def __init__(
        self,
        features: int,
        *,
        codes: int,
        tokens: int,
        groups: int = 4,
        books: str = "one",
        width: int | None = None,
        codebook: str | Codebook = "ema",
        gradient: str = "straight-through",
    ) -> None:
        super().__init__(features, features if width is None else width, codes, tokens)
        self.groups = whole("groups", groups)
        if self.width % self.groups:
            raise refuse("groups", groups, f"a divisor of the width {self.width}")
        count = {"one": 1, "group": self.groups, "token": self.tokens}
        self.separate = books != "token"
        self.shared_by = choice("books", books, tuple(count))
        self.books = nn.ModuleList(
            self.make_books(codebook, gradient, self.width // self.groups, count[books])
        )

    @property
    def symbols(self) -> Symbols:
        """The shape and range of the indices, G for each token."""
        shape = (self.tokens,) if self.groups == 1 else (self.tokens, self.groups)
        return Symbols(shape, self.codes, self.layout)

    def starts(self) -> Sequence[tuple[int, int]]:
        """The number of codes that each k-means starts, and of the vectors that an example gives it."""
        return [(self.codes, self.tokens * self.groups // len(self.books))]

    def parts(self, of: Tensor) -> list[tuple[Codebook, Tensor]]:
        """Every codebook with its part of an array (B, L, G, *): see `books`."""
        axis = _AXIS[self.shared_by]
        parts = (of,) if axis is None else of.unbind(axis)
        return list(zip(self.books, parts, strict=True))  # type: ignore[arg-type]

    def joined(self, parts: Sequence[Tensor]) -> Tensor:
        """The array (B, L, G, *) of which these are the parts."""
        axis = _AXIS[self.shared_by]
        return parts[0] if axis is None else torch.stack(list(parts), axis)

    def quantize(self, tokens: Tensor) -> Quantised:
        """Replace the groups of tokens (B, L, d) by their nearest codes."""
        rows = tokens.unflatten(-1, (self.groups, -1))
        indices = self.joined([book.nearest(part) for book, part in self.parts(rows)])
        indices = indices.flatten(2) if self.groups > 1 else indices.squeeze(2)
        vectors = self.vectors(indices).to(tokens)
        codes = vectors.unflatten(-1, (self.groups, -1))
        both = zip(self.parts(rows), self.parts(codes), strict=True)
        costs = added(book.costs(part.flatten(1, -2), q.flatten(1, -2)) for (book, part), (_, q) in both)
        return Quantised(self.passes(tokens, vectors), indices, costs)

    def vectors(self, indices: Tensor) -> Tensor:
        """The codes of indices, (B, L) or (B, L, G) -> (B, L, d)."""
        indices = indices.reshape(*indices.shape[:2], self.groups)
        return self.joined([book.vectors(part) for book, part in self.parts(indices)]).flatten(2)

    def code_vectors(self) -> Tensor | None:
        """The vectors of all codes, (K, d), or of several groups, (G, K, d / G); None with one codebook per token."""
        if self.groups == 1 or not self.separate:
            return super().code_vectors()
        every = self._every[:, None].expand(1, -1, self.groups)
        return self.vectors(every)[0].unflatten(-1, (self.groups, -1)).transpose(0, 1)

    def begin(self, tokens: Tensor) -> None:
        """Start every codebook from its part of the tokens (B, L, d) of a first batch."""
        for book, part in self.parts(tokens.unflatten(-1, (self.groups, -1))):
            book.begin(part)

    @torch.no_grad()
    def after_step(self, passed: Pass) -> None:
        """Update every codebook with the vectors assigned to its codes."""
        found = passed.code[Indices]
        assert found.tokens is not None
        rows = found.tokens.unflatten(-1, (self.groups, -1))
        indices = found.indices.reshape(rows.shape[:-1])
        for (book, part), (_, chosen) in zip(self.parts(rows), self.parts(indices), strict=True):
            book.learn(part, chosen)
