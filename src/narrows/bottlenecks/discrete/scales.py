"""Multi-scale residual quantisation: one map of tokens is a sum of maps of codes, from coarse to fine."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from narrows.bottlenecks.discrete.books import CodebookQuantizer
from narrows.bottlenecks.discrete.codebooks.base import Codebook
from narrows.bottlenecks.discrete.quantizer import Quantised
from narrows.core import Pass, TokenLayout
from narrows.core.check import refuse
from narrows.core.evidence import Indices
from narrows.kernels.kmeans import nearest
from narrows.nets.pyramid import joined, split

__all__ = ["ScaleQuantizer"]


class ScaleQuantizer(CodebookQuantizer):
    r"""A map of tokens as the sum of maps of codes on several grids, each the nearest to what is left.

    .. math:: r_0 = z,\quad k_s = \mathrm{nearest}(\mathrm{down}_s(r_{s-1})),\quad
              \hat z^{(s)} = \hat z^{(s-1)} + \phi_s(\mathrm{up}(e_{k_s})),\quad r_s = z - \hat z^{(s)}

    .. math:: \mathrm{commitment} = \sum_s \|z - \mathrm{sg}(\hat z^{(s)})\|^2,\qquad
              \mathrm{codebook} = \sum_s \|\mathrm{sg}(z) - \hat z^{(s)}\|^2

    down averages over the cells of grid s, up is bicubic, phi_s(u) = u + C_s * u a convolution of 3 x 3 that starts at
    0. One codebook for all grids, learned by gradient together with phi unless told otherwise; codes that start from
    data do so an equal part by each grid.

    Args:
        features: width of the encoder's tokens.
        codes: size of the codebook, K.
        grids: rows and columns of each grid, from coarse to fine; the last is that of the encoder's tokens.
        codebook: ``gradient``, another name, with options, or a codebook of K codes.
        gradient: the gradient estimator: ``straight-through`` or ``rotation``.

    Raises:
        RequestError: an argument out of range.

    Example:
        >>> vq = ScaleQuantizer(4, codes=16, grids=((1, 1), (2, 2), (4, 4)))
        >>> code = vq(torch.randn(3, 16, 4))
        >>> code.z.shape, vq.to_symbols(code).shape
        (torch.Size([3, 16, 4]), torch.Size([3, 21]))

    Reference:
        Tian et al., Visual Autoregressive Modeling: Scalable Image Generation via Next-Scale Prediction, 2024,
        algorithms 1 and 2. arXiv:2404.02905
    """

    separate = False

    def __init__(
        self,
        features: int,
        *,
        codes: int,
        grids: Sequence[tuple[int, int]],
        codebook: str | Codebook = "gradient",
        gradient: str = "straight-through",
    ) -> None:
        layout = TokenLayout(tuple(grids))
        super().__init__(features, features, codes, layout.tokens)
        if any(a > b for grid in grids for a, b in zip(grid, grids[-1], strict=True)):
            raise refuse("grids", tuple(grids), "grids from coarse to fine")
        self.layout, self.grids = layout, layout.grids
        self.phi = nn.ModuleList(nn.Conv2d(features, features, 3, padding=1) for _ in grids)
        for conv in self.phi.parameters():
            nn.init.zeros_(conv)
        (self.book,) = self.make_books(codebook, gradient, self.width)

    def starts(self) -> Sequence[tuple[int, int]]:
        """The number of codes that each k-means starts, and of the vectors that an example gives it."""
        part = -(-self.codes // len(self.grids))
        return [(part, rows * columns) for rows, columns in self.grids]

    def down(self, x: Tensor, level: int) -> Tensor:
        """The mean of a map (B, d, H, W) over each cell of a grid, (B, d, h, w)."""
        rows, columns = self.grids[level]
        return F.adaptive_avg_pool2d(x, (rows, columns))

    def up(self, codes: Tensor, level: int) -> Tensor:
        """What the codes of a grid add to the map: (B, L_s, d) -> (B, d, H, W)."""
        x = split(codes, (self.grids[level],))[0]
        if self.grids[level] != self.grids[-1]:
            x = F.interpolate(x, self.grids[-1], mode="bicubic")
        return x + self.phi[level](x)

    def quantize(self, tokens: Tensor) -> Quantised:
        """Replace tokens (B, L, d) by sums of codes; their indices are those of all grids, (B, L_1 + ... + L_S)."""
        goal = split(tokens, self.grids[-1:])[0]
        total, indices, inputs = torch.zeros_like(goal), [], []
        costs = {"commitment": torch.zeros(()), "codebook": torch.zeros(())}
        for level in range(len(self.grids)):
            inputs.append(joined([self.down((goal - total).detach(), level)]))
            indices.append(self.book.nearest(inputs[-1]))
            total = total + self.up(self.book.vectors(indices[-1]).to(tokens), level)
            costs["commitment"] = costs["commitment"] + (goal - total.detach()).square().sum((1, 2, 3))
            costs["codebook"] = costs["codebook"] + (goal.detach() - total).square().sum((1, 2, 3))
        found = self.passes(tokens, joined([total]))
        return Quantised(found, torch.cat(indices, 1), costs, torch.cat(inputs, 1))

    def vectors(self, indices: Tensor) -> Tensor:
        """The sums of the codes of indices of all grids, (B, L_1 + ... + L_S) -> (B, L, d)."""
        return self.partial(indices)[-1]

    def partial(self, indices: Tensor) -> list[Tensor]:
        """The sums of the codes of the first grid, of the first two, and so on, each (B, L, d)."""
        assert self.layout is not None
        total, found = torch.zeros(()), list[Tensor]()
        for level, part in enumerate(self.layout.slices()):
            total = total + self.up(self.book.vectors(indices[:, part]), level)
            found.append(joined([total]))
        return found

    def begin(self, tokens: Tensor) -> None:
        """Start parts of the codebook from the tokens of a first batch, then from what is left on finer grids."""
        left = split(tokens, self.grids[-1:])[0].to(self.book.codebook)
        count = len(self.grids)
        for level in range(count):
            part = slice(level * self.codes // count, (level + 1) * self.codes // count)
            codes = self.book.codebook[part]
            if len(codes):
                rows = joined([self.down(left, level)])
                self.book.begin(rows, part)
                left = left - self.up(F.embedding(nearest(rows, codes), codes), level)

    @torch.no_grad()
    def after_step(self, passed: Pass) -> None:
        """Count the codes, and restart the dead ones."""
        found = passed.code[Indices]
        assert found.tokens is not None
        self.book.learn(found.tokens, found.indices)
