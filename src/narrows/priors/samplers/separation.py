"""Separation of two sources in the codes of their mixture: counted frequencies of mixed codes, and the search."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

__all__ = ["SEARCHES", "Logits", "Mixtures", "beam_search", "counted", "drawn_pairs"]

Logits: TypeAlias = Callable[[Tensor], Tensor]
"""Logits (n, L, K) of each index given the previous ones, from indices (n, L)."""

_ROWS = 1024
"""Number of codes whose distances from all others are computed at once."""

SEARCHES = ("ancestral", "beam")
"""How codes of the sources are found: by draws, or the most likely ones."""


@dataclass(frozen=True)
class Mixtures:
    """How likely the code m of a mixture is, given the codes a and b of its sources: the seen triples alone.

    Args:
        first: a of each triple, (T,), triples in the order of m.
        second: b of each triple, (T,).
        log_p: log p(m | a, b) of each triple, (T,).
        starts: the first triple of each m, and T, (K + 1,).
        nearest: for each code that nearest to it which is some m, (K,).
    """

    first: Tensor
    second: Tensor
    log_p: Tensor
    starts: Tensor
    nearest: Tensor

    def known(self, mixed: Tensor) -> Tensor:
        """Codes of mixtures, each replaced by the nearest one that was seen as a mixture."""
        return self.nearest[mixed]

    def of(self, mixed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The triples of codes m (n,), which were seen: a, b and log p(m | a, b), (n, E); without a triple -inf."""
        begin, count = self.starts[mixed], self.starts[mixed + 1] - self.starts[mixed]
        place = torch.arange(int(count.max()), device=mixed.device)
        there = place < count[:, None]
        at = torch.where(there, begin[:, None] + place, begin[:, None])
        return self.first[at], self.second[at], self.log_p[at].masked_fill(~there, -torch.inf)


def counted(first: Tensor, second: Tensor, mixed: Tensor, vectors: Tensor) -> Mixtures:
    r"""The frequencies of a mixture's code, given those of its sources, over all places and examples.

    .. math:: p(m \mid a, b) = \frac{n(a, b, m) + n(b, a, m)}{\sum_{m'} n(a, b, m') + n(b, a, m')}

    Args:
        first: codes of one source, (P, L).
        second: codes of the other, (P, L).
        mixed: codes of their mixture, (P, L).
        vectors: the codebook (K, d), whose distances tell the code that is nearest to one that is never a mixture.

    Example:
        >>> one, two, both = torch.tensor([[0, 0, 0]]), torch.tensor([[1, 1, 1]]), torch.tensor([[2, 2, 1]])
        >>> seen = counted(one, two, both, torch.arange(3.0)[:, None])
        >>> [part.tolist() for part in seen.of(torch.tensor([2]))[:2]], seen.of(torch.tensor([2]))[2].exp()
        ([[[0, 1]], [[1, 0]]], tensor([[0.6667, 0.6667]]))
        >>> seen.known(torch.arange(3))  # 0 was never seen as a mixture
        tensor([1, 1, 2])
    """
    codes = len(vectors)
    a, b, m = (part.flatten().long() for part in (first, second, mixed))
    triples = torch.cat([(m * codes + a) * codes + b, (m * codes + b) * codes + a])
    triple, count = triples.unique(return_counts=True)
    pair = triple % codes**2
    _, which = pair.unique(return_inverse=True)
    totals = torch.zeros(len(pair), device=a.device).index_add_(0, which, count.float())[which]
    of_m = (triple // codes**2).bincount(minlength=codes)
    starts = torch.cat([of_m.new_zeros(1), of_m.cumsum(0)])
    seen, nearest = of_m.nonzero()[:, 0], torch.arange(codes, device=a.device)
    for others in (of_m == 0).nonzero()[:, 0].split(_ROWS):
        away = torch.cdist(vectors[others].double(), vectors[seen].double())
        nearest[others] = seen[away.argmin(1)]
    return Mixtures(pair // codes, pair % codes, (count / totals).log(), starts, nearest)


def _together(one: Tensor, two: Tensor, seen: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """log p(a) + log p(b) + log p(m | a, b) of triples (n, E), from log p of codes (n, ..., K) -> (n, ..., E)."""
    a, b, log_p = (
        part.view(len(part), *[1] * (one.dim() - 2), -1).expand(*one.shape[:-1], -1) for part in seen
    )
    return one.gather(-1, a) + two.gather(-1, b) + log_p


def drawn_pairs(both: Tensor, mixed: Tensor, table: Mixtures) -> Tensor:
    r"""A code of each source, given that of their mixture.

    .. math:: p(a, b \mid m) \propto p_1(a)\, p_2(b)\, p(m \mid a, b)

    Args:
        both: logits of the first sources, then of the second, (2n, K).
        mixed: codes of the mixtures, (n,).
        table: p(m | a, b).

    Returns:
        Codes of the first sources, then of the second, (2n,).
    """
    seen = table.of(mixed)
    one, two = both.log_softmax(-1).chunk(2)
    joint = _together(one, two, seen)
    place = torch.multinomial(joint.softmax(-1), 1)
    return torch.cat([seen[0].gather(1, place), seen[1].gather(1, place)])[:, 0]


def beam_search(logits: Logits, mixed: Tensor, table: Mixtures, beams: int) -> Tensor:
    r"""The most likely pairs of sequences that a search with some beams finds, most likely first.

    .. math:: \max_{a, b} \sum_l \log p(a_l \mid a_{<l}) + \log p(b_l \mid b_{<l}) + \log p(m_l \mid a_l, b_l)

    Two sources that are exchanged are the same pair: in the first place only a <= b is tried.

    Args:
        logits: the prior of both sources.
        mixed: codes of the mixtures, (n, L).
        table: p(m | a, b).
        beams: number of beams, C.

    Returns:
        Codes (n, C, 2, L).
    """
    n, tokens = mixed.shape
    found = mixed.new_zeros(n, beams, 2, tokens)
    score = mixed.new_full((n, beams), -torch.inf, dtype=torch.float).index_fill_(1, mixed.new_zeros(1), 0.0)
    for place in range(tokens):
        seen = table.of(mixed[:, place])
        if place == 0:
            seen = (*seen[:2], seen[2].masked_fill(seen[0] > seen[1], -torch.inf))
        each = logits(found.flatten(0, 2))[:, place].log_softmax(-1).view(n, beams, 2, -1)
        total = score[..., None] + _together(each[:, :, 0], each[:, :, 1], seen)
        score, best = total.flatten(1).topk(beams)
        beam, triple = best // total.shape[-1], best % total.shape[-1]
        found = found.gather(1, beam[..., None, None].expand_as(found))
        for source in (0, 1):
            found[:, :, source, place] = seen[source].gather(1, triple)
    return torch.where(score.isfinite()[..., None, None], found, found[:, :1])  # if there are fewer pairs
