"""Quantisation of groups of a token's channels by one codebook, or by one for each place."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from narrows.bottlenecks.discrete.learned import LearnedCodebook
from narrows.bottlenecks.discrete.quantizer import GRADIENTS, Quantised, Quantizer
from narrows.core import Autoencoder, Batch, Pass, Symbols
from narrows.core.check import choice, refuse, whole
from narrows.core.evidence import Indices

__all__ = ["GroupedQuantizer"]


class GroupedQuantizer(Quantizer):
    r"""Each of G groups of a token's channels is replaced by the nearest code of its codebook.

    .. math:: x_l = (x_{l1}, \ldots, x_{lG}),\qquad k_{lg} = \arg\min_k \|x_{lg} - e^{b(l,g)}_k\|^2,\qquad
              \mathrm{commitment} = \sum_{l,g} \|x_{lg} - \mathrm{sg}(e_{k_{lg}})\|^2

    b(l, g) is the codebook: one for all groups of all tokens, or one per token. For one per group see
    `ProductQuantizer`. Codes are EMAs of the vectors assigned to them, initialised by k-means of a first batch, with
    restarts of dead codes: see `LearnedCodebook`.

    Args:
        features: width of the encoder's tokens.
        codes: size of a codebook, K.
        tokens: the number of tokens of an example, L.
        groups: the number of groups of a token, G; with 1 the symbols are indices (L,), else stacks (L, G).
        books: ``one`` codebook for all, or one per ``token``.
        width: width of all groups together, a multiple of G; that of the tokens if None.
        decay: decay of the EMA.
        gradient: the gradient estimator: ``straight-through`` or ``rotation``.
        restart: the threshold of dead codes as a share of the mean count, from 0 (never restart) to 0.5.
        start: initialisation of the codes: ``kmeans``, or ``normal``: draws from N(0, 1/d).

    Raises:
        RequestError: an argument out of range.

    Example:
        >>> vq = GroupedQuantizer(8, codes=16, tokens=9, groups=4)
        >>> code = vq(torch.randn(2, 9, 8))
        >>> vq.to_symbols(code).shape, bool((vq.from_symbols(vq.to_symbols(code)).z == code.z).all())
        (torch.Size([2, 9, 4]), True)

    Reference:
        One codebook for all groups: Zheng et al., MoVQ, 2022. arXiv:2209.09002. One per token: Elsner et al.,
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
        decay: float = 0.99,
        gradient: str = "straight-through",
        restart: float = 0.03,
        start: str = "kmeans",
    ) -> None:
        super().__init__(features, features if width is None else width, codes, tokens)
        self.groups = whole("groups", groups)
        if self.width % self.groups:
            raise refuse("groups", groups, f"a divisor of the width {self.width}")
        count = {"one": 1, "token": self.tokens}
        self.separate = books != "token"
        self.shared_by = choice("books", books, tuple(count))
        self.passes = GRADIENTS[choice("gradient", gradient, tuple(GRADIENTS))]
        self.kmeans = choice("start", start, ("kmeans", "normal")) == "kmeans"
        self.books = nn.ModuleList(
            LearnedCodebook(self.codes, self.width // self.groups, decay=decay, restart=restart)
            for _ in range(count[books])
        )

    @property
    def symbols(self) -> Symbols:
        """The shape and range of the indices, G for each token."""
        shape = (self.tokens,) if self.groups == 1 else (self.tokens, self.groups)
        return Symbols(shape, self.codes, self.layout)

    def parts(self, of: Tensor) -> list[tuple[LearnedCodebook, Tensor]]:
        """Every codebook with its part, a view, of an array (..., L, G, *) with B leading: see `books`."""
        whole_part = [of] if self.shared_by == "one" else of.unbind(1)
        return list(zip(self.books, whole_part, strict=True))  # type: ignore[arg-type]

    def quantize(self, tokens: Tensor) -> Quantised:
        """Replace the groups of tokens (B, L, d) by their nearest codes."""
        rows = tokens.unflatten(-1, (self.groups, -1))
        indices = torch.empty(rows.shape[:-1], dtype=torch.long, device=rows.device)
        for (book, part), (_, into) in zip(self.parts(rows), self.parts(indices), strict=True):
            into.copy_(book.nearest(part))
        indices = indices.flatten(2) if self.groups > 1 else indices.squeeze(2)
        vectors = self.vectors(indices).to(tokens)
        cost = (tokens - vectors).square().sum((-2, -1))
        return Quantised(self.passes(tokens, vectors), indices, {"commitment": cost})

    def vectors(self, indices: Tensor) -> Tensor:
        """The codes of indices, (B, L) or (B, L, G) -> (B, L, d)."""
        indices = indices.reshape(*indices.shape[:2], self.groups)
        codes = self.books[0].codebook
        assert isinstance(codes, Tensor)
        found = codes.new_empty(*indices.shape, self.width // self.groups)
        for (book, part), (_, into) in zip(self.parts(indices), self.parts(found), strict=True):
            into.copy_(book.vectors(part))
        return found.flatten(2)

    @torch.no_grad()
    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """Initialise every codebook with the k-means centres of its part of a batch's tokens."""
        if self.kmeans:
            rows = self.inward(model.encoder(batch.x, batch.condition)).unflatten(-1, (self.groups, -1))
            for book, part in self.parts(rows):
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
