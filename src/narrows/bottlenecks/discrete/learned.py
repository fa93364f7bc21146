"""A codebook that learns: codes that are running means of what they were chosen for, or that follow their gradient."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from narrows.bottlenecks.discrete.codebook import kmeans, nearest, scatter_sum, spread
from narrows.core.check import fraction, number, whole

__all__ = ["LearnedCodebook"]

_SMOOTHING = 1e-5
_ROWS_A_CENTRE = 64
_LEAST_SHARE = 1.0
"""A centre of few rows begins with the count of an even share: with none, the recurrence would lose it at once."""


class LearnedCodebook(nn.Module):
    r"""K codes of d numbers, and what a recurrence over batches holds of them.

    With c_k the count and s_k the sum of the rows of a global batch that chose code k,

    .. math:: n \leftarrow \gamma n + (1-\gamma) c,\quad S \leftarrow \gamma S + (1-\gamma) s,\quad
              e_k = S_k \Big/ \Big(N \frac{n_k + \epsilon}{N + K\epsilon}\Big),\quad N = \textstyle\sum_k n_k

    Codes chosen less than `restart` times as often as an even share (N / K) are dead; they are put on rows of the
    batch, those far from their code more often, and begin with twice the count that is death.

    Args:
        codes: how many, K.
        width: of a code, d.
        ema: whether codes are running means; else they are a parameter, and only counts run.
        decay: gamma.
        restart: which share of an even use keeps a code alive, from 0 (codes are never restarted) to 0.5.

    Raises:
        RequestError: an argument out of range.

    Example:
        >>> book = LearnedCodebook(16, 4)
        >>> book.vectors(book.nearest(torch.randn(2, 9, 4))).shape
        torch.Size([2, 9, 4])
    """

    codebook: Tensor
    sums: Tensor
    counts: Tensor

    def __init__(
        self, codes: int, width: int, *, ema: bool = True, decay: float = 0.99, restart: float = 0.03
    ) -> None:
        super().__init__()
        self.codes, self.width, self.ema = whole("codes", codes), whole("width", width), ema
        self.decay = fraction("decay", decay)
        self.restart = number("restart", restart, low=0, high=0.5)
        normal = torch.randn(self.codes, self.width) * self.width**-0.5
        if ema:
            self.register_buffer("codebook", normal)
            self.register_buffer("sums", normal.clone())
        else:
            self.codebook = nn.Parameter(normal)
        # A count of one each and sums of code times count: the recurrence then begins at the codebook itself.
        self.register_buffer("counts", torch.ones(self.codes))

    def nearest(self, rows: Tensor) -> Tensor:
        """The nearest code of every row, (..., d) -> (...)."""
        return nearest(rows, self.codebook)

    def vectors(self, indices: Tensor) -> Tensor:
        """The codes of indices, (...) -> (..., d)."""
        return F.embedding(indices, self.codebook)

    @torch.no_grad()
    def begin(self, rows: Tensor, where: slice = slice(None)) -> None:
        """Put codes on the k-means centres of rows (..., d), each with its share of the count.

        Args:
            rows: what the codes shall stand for.
            where: which codes; all of them where it is not said.
        """
        places = torch.arange(self.codes, device=rows.device)[where]
        rows = rows.flatten(0, -2).to(self.codebook)
        some = rows[torch.randperm(len(rows))[: _ROWS_A_CENTRE * len(places)]]
        centres, counts = kmeans(some, len(places))
        share = counts * (len(places) / counts.sum())
        self._place(places, centres, share.clamp_min(_LEAST_SHARE))

    @torch.no_grad()
    def learn(self, rows: Tensor, indices: Tensor) -> None:
        """Move the codes one step towards what they were chosen for, then restart the dead.

        Args:
            rows: what was to be quantised, (..., d).
            indices: which codes were chosen, (...).
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
        """Set codes, and all that the recurrence holds of them, together."""
        self.codebook[where] = codes
        self.counts[where] = counts
        if self.ema:
            self.sums[where] = codes * counts[:, None]
