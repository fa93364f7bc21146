"""Vector quantisation of several grids of tokens, in which coarse codes condition the finer ones."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from narrows.bottlenecks.discrete.books import CodebookQuantizer, added
from narrows.bottlenecks.discrete.codebooks.base import Codebook
from narrows.bottlenecks.discrete.quantizer import Quantised
from narrows.core import Pass, TokenLayout
from narrows.core.evidence import Indices
from narrows.nets.pyramid import joined, resized, split

__all__ = ["LevelQuantizer"]


class LevelQuantizer(CodebookQuantizer):
    r"""Grids of tokens, from coarse to fine, each quantised by its own codebook given the coarser codes.

    .. math:: u_1 = h_1,\quad u_s = h_s + C_s * [h_s, \mathrm{up}(q_{s-1})],\quad
              q_s = \mathrm{nearest}_{E_s}(u_s),\qquad
              \mathrm{commitment} = \sum_s \|u_s - \mathrm{sg}(q_s)\|^2

    C_s is a convolution of 3 x 3, up resizes to the finer grid by nearest values. The code is that of all grids, one
    after the other. Codes that start from data do so level by level.

    Args:
        features: width of the encoder's tokens.
        codes: size of each codebook, K.
        grids: rows and columns of each grid, from coarse to fine.
        codebook: the text of each grid's codebook, such as ``ema`` or ``gradient:restart=0``.
        gradient: the gradient estimator: ``straight-through`` or ``rotation``.

    Raises:
        RequestError: an argument out of range.

    Example:
        >>> vq = LevelQuantizer(4, codes=16, grids=((2, 2), (4, 4)))
        >>> vq.to_symbols(vq(torch.randn(3, 20, 4))).shape, vq.symbols.layout.grids
        (torch.Size([3, 20]), ((2, 2), (4, 4)))

    Reference:
        Razavi, van den Oord, Vinyals, Generating Diverse High-Fidelity Images with VQ-VAE-2, 2019, section 3.1.
        arXiv:1906.00446
    """

    separate = False

    def __init__(
        self,
        features: int,
        *,
        codes: int,
        grids: Sequence[tuple[int, int]],
        codebook: str | Codebook = "ema",
        gradient: str = "straight-through",
    ) -> None:
        layout = TokenLayout(tuple(grids))
        super().__init__(features, features, codes, layout.tokens)
        self.layout = layout
        self.merge = nn.ModuleList(nn.Conv2d(2 * features, features, 3, padding=1) for _ in grids[1:])
        self.books = nn.ModuleList(self.make_books(codebook, gradient, self.width, len(grids)))

    def book(self, level: int) -> Codebook:
        """The codebook of a grid, counting from 0."""
        found = self.books[level]
        assert isinstance(found, Codebook)
        return found

    def starts(self) -> Sequence[tuple[int, int]]:
        """The number of codes that each k-means starts, and of the vectors that an example gives it."""
        return [(self.codes, rows * columns) for rows, columns in self.grids]

    @property
    def grids(self) -> tuple[tuple[int, ...], ...]:
        """The grids, from coarse to fine."""
        assert self.layout is not None
        return self.layout.grids

    def conditioned(self, h: Tensor, coarser: Tensor, level: int) -> Tensor:
        """The tokens of a grid given the codes of the coarser one: maps (B, d, h, w) and (B, d, h', w')."""
        return h + self.merge[level - 1](torch.cat([h, resized(coarser, self.grids[level])], 1))

    def quantize(self, tokens: Tensor) -> Quantised:
        """Replace the tokens of all grids (B, L, d) by codes, from coarse to fine."""
        codes, indices, inputs, costs = list[Tensor](), list[Tensor](), list[Tensor](), []
        for level, h in enumerate(split(tokens, self.grids)):
            inputs.append(joined([self.conditioned(h, codes[-1], level) if level else h]))
            indices.append(self.book(level).nearest(inputs[-1]))
            vectors = self.book(level).vectors(indices[-1]).to(tokens)
            costs.append(self.book(level).costs(inputs[-1], vectors))
            codes.append(split(self.passes(inputs[-1], vectors), (self.grids[level],))[0])
        return Quantised(joined(codes), torch.cat(indices, 1), added(costs), torch.cat(inputs, 1))

    def vectors(self, indices: Tensor) -> Tensor:
        """The codes of indices of all grids, (B, L) -> (B, L, d)."""
        assert self.layout is not None
        parts = [indices[:, part] for part in self.layout.slices()]
        return torch.cat([self.book(i).vectors(part) for i, part in enumerate(parts)], 1)

    def begin(self, tokens: Tensor) -> None:
        """Start the codes from the tokens of all grids (B, L, d) of a first batch, level by level."""
        coarser = torch.empty(0)
        for level, h in enumerate(split(tokens, self.grids)):
            rows = joined([self.conditioned(h, coarser, level) if level else h])
            self.book(level).begin(rows)
            codes = self.book(level).vectors(self.book(level).nearest(rows)).to(h)
            coarser = split(codes, (self.grids[level],))[0]

    @torch.no_grad()
    def after_step(self, passed: Pass) -> None:
        """Update every codebook with the tokens assigned to its codes."""
        found = passed.code[Indices]
        assert found.tokens is not None
        assert self.layout is not None
        for level, part in enumerate(self.layout.slices()):
            self.book(level).learn(found.tokens[:, part], found.indices[:, part])
