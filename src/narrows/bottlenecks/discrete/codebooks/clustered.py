"""A codebook whose unused codes move to tokens of the batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import log

import torch
from torch import Tensor, nn

from narrows.bottlenecks.discrete.codebooks.base import Codebook
from narrows.core.check import choice, fraction
from narrows.kernels.kmeans import divided, scatter_sum

__all__ = ["ANCHORS", "ClusteredCodebook"]

_RATE = 10.0
"""The constant of the exponent of a, as in the paper."""
_LEAST = 1e-3
"""So that a is below 1."""
_NEGLIGIBLE = 1e-6
"""A code with a smaller a stays where it is."""
_DISTANCES = 1 << 22
"""The number of distances in memory at a time."""


def _nearest(away: Tensor) -> Tensor:
    return away.argmin(1)


def _random(away: Tensor) -> Tensor:
    return torch.randint(away.shape[1], (len(away),), device=away.device)


def _probabilistic(away: Tensor) -> Tensor:
    return torch.multinomial((-away).softmax(1), 1).squeeze(1)


ANCHORS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "probabilistic": _probabilistic,
    "nearest": _nearest,
    "random": _random,
}
"""The choice of a token for each code, by name: squared distances (K, N) -> indices (K,)."""


class ClusteredCodebook(Codebook):
    r"""Codes learned by gradient descent that move to tokens of the batch while they are unused.

    With c_k the number of the N tokens of a global batch that are assigned to code k, and a token a_k of the
    batch as its anchor,

    .. math:: p_k \leftarrow \gamma p_k + (1 - \gamma) \frac{c_k}{N},\qquad
              \alpha_k = \exp\Big(-\frac{10 K p_k}{1 - \gamma} - 10^{-3}\Big),\qquad
              e_k \leftarrow (1 - \alpha_k) e_k + \alpha_k a_k

    after each step. With gamma = 0.99, alpha is below 0.01 for a code that is used more than a 200th as often
    as on average.

    The anchor is drawn from the tokens with probabilities softmax(-||x_i - e_k||^2), or is the nearest token,
    or a random one. With several processes each chooses anchors for its part of the codes from its own tokens.

    Args:
        codes: the number of codes, K.
        width: of a code, d.
        decay: gamma.
        anchor: ``probabilistic``, ``nearest`` or ``random``.

    Raises:
        RequestError: an argument out of range.

    Example:
        >>> book = ClusteredCodebook(2, 1)
        >>> book.learn(torch.full((5, 1), 7.0), torch.zeros(5, dtype=torch.long))
        >>> round(float(book.codebook[1]), 1)
        7.0

    Reference:
        Zheng and Vedaldi, Online Clustered Codebook, 2023, section 3.2. arXiv:2307.15139
    """

    codebook: Tensor
    shares: Tensor

    def __init__(self, codes: int, width: int, *, decay: float = 0.99, anchor: str = "probabilistic") -> None:
        super().__init__(codes, width)
        self.decay = fraction("decay", decay)
        self.anchor = choice("anchor", anchor, tuple(ANCHORS))
        self.codebook = nn.Parameter(torch.randn(self.codes, self.width) * self.width**-0.5)
        self.register_buffer("shares", torch.zeros(self.codes))

    @torch.no_grad()
    def learn(self, rows: Tensor, indices: Tensor) -> None:
        """Average the shares of the codes, and move codes that are hardly used towards their anchors."""
        rows, indices = rows.flatten(0, -2).to(self.codebook), indices.flatten()
        counts, _ = scatter_sum(rows, indices, self.codes)
        self.shares.lerp_(counts / counts.sum(), 1 - self.decay)
        exponent = _RATE * self.codes * self.shares / (1 - self.decay) + _LEAST
        moved = (exponent < -log(_NEGLIGIBLE)).nonzero().squeeze(1)
        if len(moved):
            share = (-exponent[moved]).exp()[:, None].to(self.codebook)
            self.codebook[moved] = torch.lerp(self.codebook[moved], self._anchors(rows, moved), share)

    def _anchors(self, rows: Tensor, codes: Tensor) -> Tensor:
        """The anchors of some codes (M,), (M, d), the same on all processes."""
        chosen = list[Tensor]()
        for part in codes.split(max(1, _DISTANCES // len(rows))):
            e = self.codebook[part]
            away = e.square().sum(1, keepdim=True) - 2 * e @ rows.T + rows.square().sum(1)
            chosen.append(ANCHORS[self.anchor](away))
        return divided(rows[torch.cat(chosen)])
