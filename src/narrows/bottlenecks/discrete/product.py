"""Product quantisation: groups of channels of a token, each with a codebook of its own."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from narrows.bottlenecks.discrete.learned import LearnedCodebook
from narrows.bottlenecks.discrete.quantizer import GRADIENTS, Quantised
from narrows.bottlenecks.discrete.stacks import StackQuantizer
from narrows.core import Autoencoder, Batch, Pass
from narrows.core.check import choice, refuse
from narrows.core.evidence import Indices

__all__ = ["ProductQuantizer"]


class ProductQuantizer(StackQuantizer):
    r"""A token's channels are divided into C groups, and each group is replaced by the nearest code of its codebook.

    .. math:: \hat z = \big[e_1(k_1); \ldots; e_C(k_C)\big],\quad k_c = \arg\min_k \|z_c - e_c(k)\|^2,\qquad
              \mathrm{commitment} = \|z - \mathrm{sg}(\hat z)\|^2

    So C codebooks of K codes of width d / C describe K^C vectors with the memory of K. The stacks of indices are those
    of `StackQuantizer`: a code is a vector that is 0 outside its group. Codes are EMAs of what is assigned to them, and
    dead codes are restarted, see `LearnedCodebook`. One gradient estimator is applied to the whole token.

    Args:
        features: width of the encoder's tokens.
        codes: size of each codebook, K.
        tokens: the number of tokens of an example, L.
        groups: the number of codebooks, C.
        width: width of a quantised token, d, a multiple of C; that of the tokens if None.
        decay: decay of the EMA.
        gradient: the gradient estimator: ``straight-through`` or ``rotation``.
        restart: the threshold of dead codes as a share of the mean count, from 0 (never restart) to 0.5.
        start: initialisation of the codes: ``kmeans``, or ``normal`` draws.

    Raises:
        RequestError: an argument out of range.

    Example:
        >>> pq = ProductQuantizer(6, codes=16, tokens=9, groups=3)
        >>> code = pq(torch.randn(2, 9, 6))
        >>> pq.to_symbols(code).shape, bool((pq.from_symbols(pq.to_symbols(code)).z == code.z).all())
        (torch.Size([2, 9, 3]), True)

    Reference:
        Jegou, Douze, Schmid, Product Quantization for Nearest Neighbor Search, 2011. doi:10.1109/TPAMI.2010.57
    """

    def __init__(
        self,
        features: int,
        *,
        codes: int,
        tokens: int,
        groups: int = 4,
        width: int | None = None,
        decay: float = 0.99,
        gradient: str = "straight-through",
        restart: float = 0.03,
        start: str = "kmeans",
    ) -> None:
        super().__init__(features, features if width is None else width, codes, tokens, groups)
        if self.width % self.depth:
            raise refuse("groups", groups, f"a divisor of the width of a token, {self.width}")
        self.passes = GRADIENTS[choice("gradient", gradient, tuple(GRADIENTS))]
        self.kmeans = choice("start", start, ("kmeans", "normal")) == "kmeans"
        self.books = nn.ModuleList(
            LearnedCodebook(self.codes, self.width // self.depth, decay=decay, restart=restart)
            for _ in range(self.depth)
        )

    def book(self, group: int) -> LearnedCodebook:
        """The codebook of a group, counting from 0."""
        found = self.books[group]
        assert isinstance(found, LearnedCodebook)
        return found

    def quantize(self, tokens: Tensor) -> Quantised:
        """Replace the groups of channels of tokens (B, L, d) by codes; indices are (B, L, C)."""
        found = [self.book(c).nearest(part) for c, part in enumerate(tokens.chunk(self.depth, -1))]
        indices = torch.stack(found, -1)
        q = self.vectors(indices)
        cost = (tokens - q.detach()).square().sum((-2, -1))
        return Quantised(self.passes(tokens, q), indices, {"commitment": cost})

    def codes_at(self, level: int, indices: Tensor) -> Tensor:
        """The vectors of indices of one group, 0 in the channels of the others: (...) -> (..., d)."""
        part = self.book(level).vectors(indices)
        size = self.width // self.depth
        return nn.functional.pad(part, (level * size, self.width - (level + 1) * size))

    def partial(self, indices: Tensor) -> list[Tensor]:
        """The whole token alone: the commitment is to all groups at once."""
        return [self.vectors(indices)]

    @torch.no_grad()
    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """Initialise each codebook by k-means of its channels of a batch's tokens."""
        if self.kmeans:
            tokens = self.inward(model.encoder(batch.x, batch.condition))
            for c, part in enumerate(tokens.chunk(self.depth, -1)):
                self.book(c).begin(part)

    @torch.no_grad()
    def after_step(self, passed: Pass) -> None:
        """Update each codebook with the channels assigned to its codes."""
        found = passed.code[Indices]
        assert found.tokens is not None
        for c, part in enumerate(found.tokens.chunk(self.depth, -1)):
            self.book(c).learn(part, found.indices[..., c])
