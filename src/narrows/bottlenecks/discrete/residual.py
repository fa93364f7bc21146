"""Residual quantisation: a token is a sum of codes, each the nearest to the residual of the previous ones."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from narrows.bottlenecks.discrete.books import CodebookQuantizer, added
from narrows.bottlenecks.discrete.codebooks.base import Codebook
from narrows.bottlenecks.discrete.quantizer import Quantised
from narrows.bottlenecks.discrete.stacks import StackQuantizer
from narrows.core import Code, Pass
from narrows.core.evidence import Indices
from narrows.kernels.kmeans import nearest

__all__ = ["ResidualQuantizer"]


class ResidualQuantizer(CodebookQuantizer, StackQuantizer):
    r"""Each token is approximated by the sum of D codes.

    .. math:: r_0 = z,\quad k_d = \arg\min_k \|r_{d-1} - e_k\|^2,\quad r_d = r_{d-1} - e_{k_d},\qquad
              \hat z^{(d)} = \sum_{i \le d} e_{k_i}

    .. math:: \mathrm{commitment} = \sum_{d=1}^{D} \|z - \mathrm{sg}(\hat z^{(d)})\|^2

    The decoder reads the sum of all D codes, with one gradient estimator for the sum. The codebook learns from
    the residuals assigned to its codes; a shared one is updated once a step, with the residuals of all depths. The
    commitment is the paper's, a sum over depths, where the authors' code takes the mean; where codes are learned by
    gradient descent, the cost ``codebook`` is the same sum with sg on z. Codes that start from data do so depth by
    depth; in a shared codebook each depth starts an equal part.

    Args:
        features: width of the encoder's tokens.
        codes: size of the codebook, K.
        tokens: the number of tokens of an example, L.
        depth: the number of codes of a token, D.
        shared: use one codebook for all depths, as in the paper, else one per depth.
        width: width of a code, d; that of the tokens if None.
        codebook: the text of each codebook, such as ``ema`` or ``gradient:restart=0``; or a codebook, if it is
            shared.
        gradient: the gradient estimator: ``straight-through`` or ``rotation``.

    Raises:
        RequestError: an argument out of range.

    Example:
        >>> rq = ResidualQuantizer(4, codes=16, tokens=9, depth=3)
        >>> code = rq(torch.randn(2, 9, 4))
        >>> rq.to_symbols(code).shape, bool(torch.allclose(rq.from_symbols(rq.to_symbols(code)).z, code.z))
        (torch.Size([2, 9, 3]), True)

    Reference:
        Lee et al., Autoregressive Image Generation using Residual Quantization, 2022, section 3.1.
        arXiv:2203.01941
    """

    def __init__(
        self,
        features: int,
        *,
        codes: int,
        tokens: int,
        depth: int = 4,
        shared: bool = True,
        width: int | None = None,
        codebook: str | Codebook = "ema",
        gradient: str = "straight-through",
    ) -> None:
        super().__init__(features, features if width is None else width, codes, tokens, depth)
        self.shared = shared
        count = 1 if shared else self.depth
        self.books = nn.ModuleList(self.make_books(codebook, gradient, self.width, count))

    def book(self, level: int) -> Codebook:
        """The codebook of a depth, counting from 0."""
        found = self.books[0 if self.shared else level]
        assert isinstance(found, Codebook)
        return found

    def starts(self) -> Sequence[tuple[int, int]]:
        """The number of codes that each k-means starts, and of the vectors that an example gives it."""
        return [(-(-self.codes // self.depth) if self.shared else self.codes, self.tokens)]

    def quantize(self, tokens: Tensor) -> Quantised:
        """Replace tokens (B, L, d) by sums of codes; their indices are (B, L, D)."""
        start = tokens.detach()
        total, indices, costs = torch.zeros_like(start), [], []
        for level in range(self.depth):
            indices.append(self.book(level).nearest(start - total))
            total = total + self.book(level).vectors(indices[-1])
            costs.append(self.book(level).costs(tokens, total))
        return Quantised(self.passes(tokens, total), torch.stack(indices, -1), added(costs))

    def codes_at(self, level: int, indices: Tensor) -> Tensor:
        """The vectors of indices of one depth, counting from 0: (...) -> (..., d)."""
        return self.book(level).vectors(indices)

    @torch.no_grad()
    def sample_symbols(self, code: Code, temperature: float) -> tuple[Tensor, Tensor]:
        r"""Stacks drawn code by code, each for what the codes drawn before it leave over.

        .. math:: Q_d(k) \propto \exp(-\|r_{d-1} - e_k\|^2 / \tau),\quad k_d \sim Q_d,\quad r_d = r_{d-1} - e_{k_d}

        Args:
            code: of encoded examples.
            temperature: tau, above 0, in units of a squared distance.

        Returns:
            Stacks (B, L, D) and the probabilities they were drawn with, (B, L, D, K).
        """
        tokens = code[Indices].tokens
        assert tokens is not None
        left, indices, probabilities = tokens.to(self.book(0).codebook), list[Tensor](), list[Tensor]()
        for level in range(self.depth):
            codebook = self.book(level).codebook
            away = codebook.square().sum(-1) - 2 * left @ codebook.T  # less |r|^2: it cancels
            probabilities.append((-away / temperature).softmax(-1))
            indices.append(torch.multinomial(probabilities[-1].flatten(0, -2), 1).view(left.shape[:-1]))
            left = left - self.book(level).vectors(indices[-1])
        return torch.stack(indices, -1), torch.stack(probabilities, -2)

    def begin(self, tokens: Tensor) -> None:
        """Start the codes from the tokens (B, L, d) of a first batch, then from the residuals of each depth."""
        left = tokens.to(self.book(0).codebook)
        for level in range(self.depth):
            ends = (level * self.codes // self.depth, (level + 1) * self.codes // self.depth)
            part = slice(*ends) if self.shared else slice(None)
            codes = self.book(level).codebook[part]
            if len(codes):
                self.book(level).begin(left, part)
                left = left - F.embedding(nearest(left, codes), codes)

    @torch.no_grad()
    def after_step(self, passed: Pass) -> None:
        """Update the codebooks with the residuals assigned to their codes."""
        found = passed.code[Indices]
        assert found.tokens is not None
        left, indices = self.residuals(found.tokens, found.indices), found.indices.movedim(-1, 0)
        if self.shared:
            self.book(0).learn(left, indices)
            return
        for level in range(self.depth):
            self.book(level).learn(left[level], indices[level])

    def residuals(self, tokens: Tensor, indices: Tensor) -> Tensor:
        """The inputs of all depths, r_0 ... r_{D-1}: (..., d) and (..., D) -> (D, ..., d)."""
        left = [tokens.to(self.book(0).codebook)]
        for level in range(self.depth - 1):
            left.append(left[-1] - self.book(level).vectors(indices[..., level]))
        return torch.stack(left)
