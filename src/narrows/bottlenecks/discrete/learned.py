"""Learned codebooks, updated by exponential moving averages (EMA) or by gradient descent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from narrows.bottlenecks.discrete.codebooks.base import Codebook
from narrows.core.check import choice, fraction, number
from narrows.kernels.kmeans import kmeans, scatter_sum, spread

__all__ = ["GradientCodebook", "LearnedCodebook"]

_SMOOTHING = 1e-5
_ROWS_A_CENTRE = 64
_LEAST_SHARE = 1.0
"""The minimum initial count of a k-means centre in units of N / K, so that it is not restarted at once."""


class LearnedCodebook(Codebook):
    r"""K codes that are moving averages (EMA) of what is assigned to them, with restarts of dead codes.

    With c_k the number and s_k the sum of the rows of a global batch that are assigned to code k,

    .. math:: n \leftarrow \gamma n + (1-\gamma) c,\quad S \leftarrow \gamma S + (1-\gamma) s,\quad
              e_k = S_k \Big/ \Big(N \frac{n_k + \epsilon}{N + K\epsilon}\Big),\quad N = \textstyle\sum_k n_k

    Codes assigned less than `restart` times as often as on average (N / K) are dead. They are replaced by
    rows of the batch, drawn with probability proportional to the squared quantisation error, with twice the
    threshold's count.

    Args:
        codes: the number of codes, K.
        width: of a code, d.
        decay: gamma.
        restart: the threshold of dead codes as a share of the mean count, from 0 (never restart) to 0.5.
        start: ``kmeans``, the centres of a first batch, or ``normal``, draws from N(0, 1/d).

    Raises:
        RequestError: an argument out of range.

    Example:
        >>> book = LearnedCodebook(16, 4)
        >>> book.vectors(book.nearest(torch.randn(2, 9, 4))).shape
        torch.Size([2, 9, 4])

    Reference:
        Van den Oord, Vinyals, Kavukcuoglu, Neural Discrete Representation Learning, 2017, appendix A.
        arXiv:1711.00937. Restarts: Dhariwal et al., Jukebox, 2020, section 3.1. arXiv:2005.00341
    """

    ema: ClassVar[bool] = True
    """Whether codes are moving averages, else parameters, with averages of the counts alone."""

    codebook: Tensor
    sums: Tensor
    counts: Tensor

    def __init__(
        self, codes: int, width: int, *, decay: float = 0.99, restart: float = 0.03, start: str = "kmeans"
    ) -> None:
        super().__init__(codes, width)
        self.begins = choice("start", start, ("kmeans", "normal")) == "kmeans"
        self.decay = fraction("decay", decay)
        self.restart = number("restart", restart, low=0, high=0.5)
        normal = torch.randn(self.codes, self.width) * self.width**-0.5
        if self.ema:
            self.register_buffer("codebook", normal)
            self.register_buffer("sums", normal.clone())
        else:
            self.codebook = nn.Parameter(normal)
        # Counts of 1 and sums of code times count: the moving average starts at the codebook.
        self.register_buffer("counts", torch.ones(self.codes))

    def costs(self, tokens: Tensor, q: Tensor, weight: Tensor | None = None) -> Mapping[str, Tensor]:
        """The commitment, and the cost of the codes if they are learned by gradient descent, each (B,)."""
        costs = super().costs(tokens, q, weight)
        return {name: cost for name, cost in costs.items() if name != "codebook" or not self.ema}

    @torch.no_grad()
    def begin(self, rows: Tensor, where: slice = slice(None)) -> None:
        """Initialise codes by k-means, with counts in proportion to the clusters' sizes, unless they start as draws.

        Args:
            rows: the vectors to cluster, (..., d).
            where: the codes to initialise, by default all.
        """
        if not self.begins:
            return
        places = torch.arange(self.codes, device=rows.device)[where]
        rows = rows.flatten(0, -2).to(self.codebook)
        some = rows[torch.randperm(len(rows))[: _ROWS_A_CENTRE * len(places)]]
        centres, counts = kmeans(some, len(places))
        share = counts * (len(places) / counts.sum())
        self._place(places, centres, share.clamp_min(_LEAST_SHARE))

    @torch.no_grad()
    def learn(self, rows: Tensor, indices: Tensor) -> None:
        """Update the codebook with the rows assigned to each code, then restart the dead codes.

        Args:
            rows: the vectors that were quantised, (..., d).
            indices: the codes they were assigned to, (...).
        """
        rows, indices = rows.flatten(0, -2).to(self.codebook), indices.flatten()
        counts, sums = scatter_sum(rows, indices, self.codes)
        distance = (rows - self.codebook[indices]).square().sum(-1) if self.restart else None
        self.counts.lerp_(counts, 1 - self.decay)
        total = self.counts.sum()
        if self.ema:
            self.sums.lerp_(sums, 1 - self.decay)
            smooth = total * (self.counts + _SMOOTHING) / (total + self.codes * _SMOOTHING)
            self.codebook.copy_(self.sums / smooth[:, None])
        if self.restart:
            least = self.restart * total / self.codes
            dead = (self.counts < least).nonzero().squeeze(1)
            if len(dead):
                self._place(dead, spread(rows, len(dead), distance), 2 * least.expand(len(dead)))

    def _place(self, where: Tensor, codes: Tensor, counts: Tensor) -> None:
        """Set codes together with their counts and sums."""
        self.codebook[where] = codes
        self.counts[where] = counts
        if self.ema:
            self.sums[where] = codes * counts[:, None]


class GradientCodebook(LearnedCodebook):
    """A `LearnedCodebook` whose codes are learned by gradient descent, with averaged counts for the restarts.

    Args:
        codes: the number of codes, K.
        width: of a code, d.
        decay: decay of the counts.
        restart: the threshold of dead codes as a share of the mean count, from 0 (never restart) to 0.5.
        start: ``kmeans``, the centres of a first batch, or ``normal``, draws from N(0, 1/d).

    Raises:
        RequestError: an argument out of range.
    """

    ema = False
