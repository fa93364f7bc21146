"""Vector quantisation: every token becomes the nearest vector of a learned codebook."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from narrows.bottlenecks.discrete.codebook import kmeans, nearest, scatter_sum, spread
from narrows.bottlenecks.discrete.quantizer import GRADIENTS, Quantised, Quantizer
from narrows.core import Autoencoder, Batch, Pass
from narrows.core.check import choice, fraction, number
from narrows.core.evidence import Indices

__all__ = ["VectorQuantizer"]

_SMOOTHING = 1e-5
_ROWS_A_CENTRE = 64
_LEAST_SHARE = 1.0
"""A centre of few rows begins with the count of an even share: with none, the recurrence would lose it at once."""


class VectorQuantizer(Quantizer):
    r"""The nearest of K learned codes, with an EMA codebook or one that follows its gradient.

    .. math:: k_l = \arg\min_k \|x_l - e_k\|^2,\qquad
              \mathrm{commitment} = \sum_l \|x_l - \mathrm{sg}(e_{k_l})\|^2,\qquad
              \mathrm{codebook} = \sum_l \|\mathrm{sg}(x_l) - e_{k_l}\|^2

    The cost ``codebook`` exists only with ``codebook="gradient"``. With ``codebook="ema"`` the codes are running
    means of what they were chosen for, with c_k the count and s_k the sum of code k's tokens in the global batch:

    .. math:: n \leftarrow \gamma n + (1-\gamma) c,\quad S \leftarrow \gamma S + (1-\gamma) s,\quad
              e_k = S_k \Big/ \Big(N \frac{n_k + \epsilon}{N + K\epsilon}\Big),\quad N = \textstyle\sum_k n_k

    The costs are sums over the L tokens, as the distortion is one over pixels, so that the pull on a token does not
    depend on the size of the grid; the paper takes their mean.

    The codebook begins at the k-means centres of a first batch. After each step, codes chosen less than
    `restart` times as often as an even share (N / K) are dead; they are put on tokens of the batch, those far
    from their code more often, and begin with twice the count that is death.

    Args:
        features: width of the encoder's tokens.
        codes: size of the codebook, K.
        tokens: how many tokens an example has, L.
        width: width of a code, d; that of the tokens when None.
        codebook: ``ema`` or ``gradient``.
        decay: gamma.
        gradient: what passes to the encoder: ``straight-through`` or ``rotation``.
        restart: which share of an even use keeps a code alive, from 0 (codes are never restarted) to 0.5.
        start: where the codes begin, ``kmeans`` or ``normal``: N(0, 1/d) draws.

    Raises:
        RequestError: an argument out of range.

    Example:
        >>> vq = VectorQuantizer(4, codes=16, tokens=9)
        >>> code = vq(torch.randn(2, 9, 4))
        >>> code[Indices].indices.shape, bool((vq.from_symbols(vq.to_symbols(code)).z == code.z).all())
        (torch.Size([2, 9]), True)

    Reference:
        van den Oord, Vinyals, Kavukcuoglu, Neural Discrete Representation Learning, 2017, section 3 and appendix
        A. arXiv:1711.00937. Restarts: Dhariwal et al., Jukebox, 2020, section 3.1. arXiv:2005.00341
    """

    codebook: Tensor
    sums: Tensor
    counts: Tensor

    def __init__(
        self,
        features: int,
        *,
        codes: int,
        tokens: int,
        width: int | None = None,
        codebook: str = "ema",
        decay: float = 0.99,
        gradient: str = "straight-through",
        restart: float = 0.03,
        start: str = "kmeans",
    ) -> None:
        super().__init__(features, features if width is None else width, codes, tokens)
        self.ema = choice("codebook", codebook, ("ema", "gradient")) == "ema"
        self.decay = fraction("decay", decay)
        self.passes = GRADIENTS[choice("gradient", gradient, tuple(GRADIENTS))]
        self.restart = number("restart", restart, low=0, high=0.5)
        self.kmeans = choice("start", start, ("kmeans", "normal")) == "kmeans"
        normal = torch.randn(self.codes, self.width) * self.width**-0.5
        if self.ema:
            self.register_buffer("codebook", normal)
            self.register_buffer("sums", normal.clone())
        else:
            self.codebook = nn.Parameter(normal)
        # A count of one each and sums of code times count: the recurrence then begins at the codebook itself.
        self.register_buffer("counts", torch.ones(self.codes))

    def quantize(self, tokens: Tensor) -> Quantised:
        """Replace tokens (B, L, d) by their nearest codes, and say how far they were."""
        indices = nearest(tokens, self.codebook)
        q = F.embedding(indices, self.codebook)
        costs = {"commitment": _distance(tokens, q.detach())}
        if not self.ema:
            costs["codebook"] = _distance(q, tokens.detach())
        return Quantised(self.passes(tokens, q), indices, costs)

    def vectors(self, indices: Tensor) -> Tensor:
        """The codes of indices, (...) -> (..., d)."""
        return F.embedding(indices, self.codebook)

    @torch.no_grad()
    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """Put the codes on the k-means centres of a batch's tokens, each with its share of the count."""
        if not self.kmeans:
            return
        tokens = self.inward(model.encoder(batch.x, batch.condition)).flatten(0, -2).to(self.codebook)
        centres, counts = kmeans(
            tokens[torch.randperm(len(tokens))[: _ROWS_A_CENTRE * self.codes]], self.codes
        )
        share = counts * (self.codes / counts.sum())
        self._place(torch.arange(self.codes, device=share.device), centres, share.clamp_min(_LEAST_SHARE))

    @torch.no_grad()
    def after_step(self, passed: Pass) -> None:
        """Move the codebook one step towards what it was chosen for, then restart the dead."""
        found = passed.code[Indices]
        assert found.tokens is not None
        tokens, indices = found.tokens.flatten(0, -2), found.indices.flatten()
        tokens = tokens.to(self.codebook)
        counts, sums = scatter_sum(tokens, indices, self.codes)
        distance = (tokens - self.codebook[indices]).square().sum(-1) if self.restart else None
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
                self._place(dead, spread(tokens, len(dead), distance), 2 * least.expand(len(dead)))

    def _place(self, where: Tensor, codes: Tensor, counts: Tensor) -> None:
        """Set codes, and all that the recurrence holds of them, together."""
        self.codebook[where] = codes
        self.counts[where] = counts
        if self.ema:
            self.sums[where] = codes * counts[:, None]


def _distance(a: Tensor, b: Tensor) -> Tensor:
    """The squared distance, summed over the tokens of an example: (B, L, d) -> (B,)."""
    return (a - b).square().sum((-2, -1))
