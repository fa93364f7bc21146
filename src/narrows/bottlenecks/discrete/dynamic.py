"""Dynamic vector quantisation: each cell of an image has one code or several, as a gate decides."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from narrows.bottlenecks.discrete.books import CodebookQuantizer
from narrows.bottlenecks.discrete.codebooks.base import Codebook
from narrows.bottlenecks.discrete.quantizer import Quantised
from narrows.core import Code, Pass, Symbols, TokenLayout, Tree
from narrows.core.check import RequestError, number, positive, refuse
from narrows.core.evidence import FineCells, Indices
from narrows.nets.pyramid import joined, resized, split

__all__ = ["DynamicQuantizer"]


class DynamicQuantizer(CodebookQuantizer):
    r"""A coarse grid of cells, each with one code, or with one for each of its finer tokens.

    .. math:: g = \mathrm{softmax}(W [h^c, \mathrm{pool}(h^f)]) \text{ made hard},\quad
              u = g_c\, \mathrm{up}(h^c) + g_f\, h^f,\quad q_l = \arg\min_{e \in E} \|u_l - e\|^2

    .. math:: \mathrm{commitment} = \sum_l w_l \|u_l - \mathrm{sg}(q_l)\|^2,\quad
              w_l = 1 \text{ in a fine cell, else } 1 / (\text{tokens of the cell})

    In training the gate draws by Gumbel-softmax, with straight-through gradients; in `eval()` the likelier choice is
    made. The codebook learns from the vectors that its codes replace, where a coarse cell counts once.

    The symbols are the gate of each cell (1 for fine), then one index per fine token; a coarse cell has an index at its
    first token, and K, which stands for none, at its others. A drawn index that lacks counts as code 0.

    Args:
        features: width of the encoder's tokens.
        codes: size of the codebook, K.
        grids: rows and columns of the coarse and of the fine grid, which has twice as many, or one less.
        temperature: temperature of the Gumbel-softmax.
        fixed: if set, the gate is not learned: this share of the cells, evenly spread, is fine.
        codebook: ``ema``, another name, with options, or a codebook of K codes.
        gradient: the gradient estimator: ``straight-through`` or ``rotation``.

    Raises:
        RequestError: an argument out of range.

    Example:
        >>> vq = DynamicQuantizer(4, codes=16, grids=((2, 2), (4, 4))).eval()
        >>> code = vq(torch.randn(3, 20, 4))
        >>> code.z.shape, vq.to_symbols(code).shape, bool((vq.lengths(code) >= 4).all())
        (torch.Size([3, 16, 4]), torch.Size([3, 20]), True)

    Reference:
        Huang et al., Towards Accurate Image Coding: Improved Autoregressive Image Generation with Dynamic Vector
        Quantization, 2023. arXiv:2305.11718
    """

    separate = False

    first: Tensor
    sizes: Tensor
    pattern: Tensor

    def __init__(
        self,
        features: int,
        *,
        codes: int,
        grids: tuple[tuple[int, int], tuple[int, int]],
        temperature: float = 1.0,
        fixed: float | None = None,
        codebook: str | Codebook = "ema",
        gradient: str = "straight-through",
    ) -> None:
        layout = TokenLayout(grids)
        super().__init__(features, features, codes, layout.tokens)
        coarse, fine = grids
        if any(-(-f // 2) != c for c, f in zip(coarse, fine, strict=True)):
            raise refuse("grids", grids, "a coarse grid, and a fine one with twice as many rows and columns")
        self.layout, self.coarse, self.fine = layout, coarse, fine
        self.temperature = positive("temperature", temperature, "Try 1.")
        self.gate = nn.Linear(2 * features, 2) if fixed is None else None
        (self.book,) = self.make_books(codebook, gradient, self.width)
        first = torch.zeros(fine, dtype=torch.bool)
        first[::2, ::2] = True
        self.register_buffer("first", first.flatten(), persistent=False)
        tokens = 4 * F.avg_pool2d(torch.ones(1, 1, *fine), 2, ceil_mode=True, divisor_override=4)
        self.register_buffer("sizes", self.spread(tokens)[0], persistent=False)
        share = 0.0 if fixed is None else number("fixed", fixed, low=0, high=1)
        count = torch.arange(coarse[0] * coarse[1] + 1) * share
        self.register_buffer("pattern", count.floor().diff(), persistent=False)

    @property
    def symbols(self) -> Symbols:
        """The shape and range of the symbols: gates and indices, of which K is none."""
        return Symbols((self.tokens,), self.codes + 1, self.layout)

    def spread(self, cells: Tensor) -> Tensor:
        """Values of the cells (B, 1, h, w) at their fine tokens, (B, F)."""
        return resized(cells, self.fine).flatten(1)

    def gates(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """Whether each cell is fine, 0 or 1, with straight-through gradients in training, (B, C)."""
        if self.gate is None:
            return self.pattern.to(coarse).expand(len(coarse), -1)
        pooled = F.avg_pool2d(fine, 2, ceil_mode=True, count_include_pad=False)
        logits = self.gate(joined([torch.cat([coarse, pooled], 1)]))
        if self.training:
            return F.gumbel_softmax(logits, self.temperature, hard=True)[..., 1]
        return (logits[..., 1] > logits[..., 0]).to(logits)

    def mixed(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The vectors to be quantised (B, F, d), the gates (B, C), and the gates at fine tokens (B, F)."""
        coarse, fine = split(tokens, (self.coarse, self.fine))
        gates = self.gates(coarse, fine)
        at = self.spread(gates.unflatten(-1, (1, *self.coarse)))
        ups = joined([resized(coarse, self.fine)])
        return (1 - at)[..., None] * ups + at[..., None] * joined([fine]), gates, at

    def forward(self, h: Tree, samples: tuple[int, ...] = ()) -> Code:
        """Quantise tokens (B, C + F, d); samples are copies."""
        rows, gates, at = self.mixed(h)
        indices = self.book.nearest(rows)
        vectors = self.book.vectors(indices).to(rows)
        weight = torch.where(at > 0.5, torch.ones_like(at), 1 / self.sizes.to(at)).detach()
        costs = self.book.costs(rows, vectors, weight)
        z = self.passes(rows, vectors)
        if samples:
            z = z.expand(*samples, *z.shape)
            costs = {name: cost.expand(*samples, *cost.shape) for name, cost in costs.items()}
        evidence = (Indices(indices, self.codes, rows.detach()), FineCells(gates))
        return Code(z, costs, evidence=evidence)

    def quantize(self, tokens: Tensor) -> Quantised:
        """The quantisation of tokens (B, C + F, d), as `forward` computes it."""
        code = self(tokens)
        return Quantised(code.z, code[Indices].indices, code.costs, code[Indices].tokens)

    def vectors(self, indices: Tensor) -> Tensor:
        """The codes of indices, (...) -> (..., d)."""
        return self.book.vectors(indices)

    def present(self, gates: Tensor) -> Tensor:
        """The fine tokens that have an index, (B, F) bool: all of fine cells, the first of coarse ones."""
        return (self.spread(gates.unflatten(-1, (1, *self.coarse))) > 0.5) | self.first

    def to_symbols(self, code: Code) -> Tensor:
        """The gates, then the indices, with K where there is none, (B, C + F)."""
        gates = code[FineCells].gates.detach()
        indices = code[Indices].indices
        none = torch.full_like(indices, self.codes)
        return torch.cat([(gates > 0.5).long(), torch.where(self.present(gates), indices, none)], 1)

    def lengths(self, code: Code) -> Tensor:
        """The number of codes of each example, without gates, (B,)."""
        return self.present(code[FineCells].gates.detach()).sum(-1)

    def from_symbols(self, symbols: Tensor) -> Code:
        """The code of symbols (B, C + F), equal to that of the encoder.

        Raises:
            RequestError: a symbol is not an integer from 0 to K.
        """
        low, high = (int(symbols.min()), int(symbols.max())) if symbols.numel() else (0, 0)
        if symbols.is_floating_point() or low < 0 or high > self.codes:
            raise RequestError(f"Symbols must be integers from 0 to {self.codes}, which stands for none.")
        gates, indices = symbols.split([self.tokens - len(self.first), len(self.first)], 1)
        fine = (gates == 1).float()
        indices = torch.where(indices == self.codes, 0, indices)
        ones = self.spread(indices[:, self.first].float().unflatten(-1, (1, *self.coarse))).long()
        indices = torch.where(self.spread(fine.unflatten(-1, (1, *self.coarse))) > 0.5, indices, ones)
        return Code(self.vectors(indices), evidence=(Indices(indices, self.codes), FineCells(fine)))

    def begin(self, tokens: Tensor) -> None:
        """Start the codes from the tokens of a first batch, coarse and fine."""
        self.book.begin(tokens)

    @torch.no_grad()
    def after_step(self, passed: Pass) -> None:
        """Update the codebook with the vectors that its codes replaced."""
        found = passed.code[Indices]
        assert found.tokens is not None
        there = self.present(passed.code[FineCells].gates)
        self.book.learn(found.tokens[there], found.indices[there])
