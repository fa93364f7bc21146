"""Vector quantisation of several grids of tokens, in which coarse codes condition the finer ones."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from narrows.bottlenecks.discrete.learned import LearnedCodebook
from narrows.bottlenecks.discrete.quantizer import GRADIENTS, Quantised, Quantizer
from narrows.core import Autoencoder, Batch, Pass, TokenLayout
from narrows.core.check import choice
from narrows.core.evidence import Indices
from narrows.nets.pyramid import joined, resized, split

__all__ = ["LevelQuantizer"]


class LevelQuantizer(Quantizer):
    r"""Grids of tokens, from coarse to fine, each quantised by its own codebook given the coarser codes.

    .. math:: u_1 = h_1,\quad u_s = h_s + C_s * [h_s, \mathrm{up}(q_{s-1})],\quad
              q_s = \mathrm{nearest}_{E_s}(u_s),\qquad
              \mathrm{commitment} = \sum_s \|u_s - \mathrm{sg}(q_s)\|^2

    C_s is a convolution of 3 x 3, up resizes to the finer grid by nearest values. The code is that of all grids, one
    after the other. Codes are EMAs of the tokens assigned to them, with restarts: see `LearnedCodebook`. They are
    initialised by k-means of a first batch, level by level.

    Args:
        features: width of the encoder's tokens.
        codes: size of each codebook, K.
        grids: rows and columns of each grid, from coarse to fine.
        decay: decay of the EMA.
        gradient: the gradient estimator: ``straight-through`` or ``rotation``.
        restart: the threshold of dead codes as a share of the mean count, from 0 (never restart) to 0.5.
        start: initialisation of the codes: ``kmeans``, or ``normal``: draws from N(0, 1/d).

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
        decay: float = 0.99,
        gradient: str = "straight-through",
        restart: float = 0.03,
        start: str = "kmeans",
    ) -> None:
        layout = TokenLayout(tuple(grids))
        super().__init__(features, features, codes, layout.tokens)
        self.layout = layout
        self.passes = GRADIENTS[choice("gradient", gradient, tuple(GRADIENTS))]
        self.kmeans = choice("start", start, ("kmeans", "normal")) == "kmeans"
        self.merge = nn.ModuleList(nn.Conv2d(2 * features, features, 3, padding=1) for _ in grids[1:])
        self.books = nn.ModuleList(
            LearnedCodebook(self.codes, features, decay=decay, restart=restart) for _ in grids
        )

    def book(self, level: int) -> LearnedCodebook:
        """The codebook of a grid, counting from 0."""
        found = self.books[level]
        assert isinstance(found, LearnedCodebook)
        return found

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
        codes, indices, inputs = list[Tensor](), list[Tensor](), list[Tensor]()
        cost = torch.zeros((), device=tokens.device)
        for level, h in enumerate(split(tokens, self.grids)):
            inputs.append(joined([self.conditioned(h, codes[-1], level) if level else h]))
            indices.append(self.book(level).nearest(inputs[-1]))
            vectors = self.book(level).vectors(indices[-1]).to(tokens)
            cost = cost + (inputs[-1] - vectors).square().sum((-2, -1))
            codes.append(split(self.passes(inputs[-1], vectors), (self.grids[level],))[0])
        return Quantised(joined(codes), torch.cat(indices, 1), {"commitment": cost}, torch.cat(inputs, 1))

    def vectors(self, indices: Tensor) -> Tensor:
        """The codes of indices of all grids, (B, L) -> (B, L, d)."""
        assert self.layout is not None
        parts = [indices[:, part] for part in self.layout.slices()]
        return torch.cat([self.book(i).vectors(part) for i, part in enumerate(parts)], 1)

    @torch.no_grad()
    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """Initialise the codes by k-means of a batch's tokens, level by level."""
        if not self.kmeans:
            return
        coarser = torch.empty(0)
        for level, h in enumerate(split(model.encoder(batch.x, batch.condition), self.grids)):
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
