"""How well inner products of codes tell the pairs of a graph that are joined from those that are not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Links", "expected_degrees", "logit_blocks", "rank_links"]

_BLOCK = 1 << 20
"""Pairs that are looked at together."""


class Links(NamedTuple):
    """How pairs that are joined rank among others.

    Args:
        auc: the chance that a pair that is joined scores above one that is not; a tie counts half.
        average_precision: of those ranked at least as high as a joined pair, the share that is joined; the mean over
            the joined pairs.
        others: how many pairs they were ranked among.
    """

    auc: float
    average_precision: float
    others: int


def rank_links(joined: Tensor, others: Iterable[Tensor], share: float = 1.0) -> Links:
    """Rank the scores of joined pairs among those of others, which come in parts and are not kept.

    Args:
        joined: scores of the pairs that are joined, (P,).
        others: scores of pairs that are not, any shapes; minus infinity is no pair.
        share: which share of the others these are, where they were drawn from more.

    Example:
        >>> rank_links(torch.tensor([3.0, 1.0]), [torch.tensor([2.0, 0.0, 0.0])])
        Links(auc=0.8333333333333334, average_precision=0.8333333333333333, others=3)
    """
    places = joined.double().sort().values
    above = torch.zeros(len(places) + 1, dtype=torch.long)  # how many others lie above so many of the places
    reach, total = above.clone(), 0
    for part in others:
        scores = part.flatten().double()
        scores = scores[scores > -torch.inf]
        total += len(scores)
        above += torch.searchsorted(places, scores).bincount(minlength=len(above))
        reach += torch.searchsorted(places, scores, right=True).bincount(minlength=len(above))
    over, even = (n.flip(0).cumsum(0).flip(0)[1:].double() for n in (above, reach))
    at_least = (len(places) - torch.searchsorted(places, places)).double()
    precision = at_least / (at_least + even / share)
    auc = 1 - float((over + even).mean()) / (2 * max(1, total))
    return Links(auc, float(precision.mean()), round(total / share))


def logit_blocks(z: Tensor, left_out: Tensor | None = None) -> Iterator[tuple[slice, Tensor]]:
    """The inner products of the pairs i < j of one graph, some rows at a time, with minus infinity for all else.

    Args:
        z: the codes of the nodes, (N, Z).
        left_out: pairs that are left out too, (M, 2), each once in either order.

    Example:
        >>> [(rows, logits)] = logit_blocks(torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([[2, 0]]))
        >>> logits
        tensor([[-inf, 2., -inf],
                [-inf, -inf, 6.],
                [-inf, -inf, -inf]])
    """
    nodes = len(z)
    low, high = (torch.zeros(0, dtype=torch.long),) * 2
    if left_out is not None and len(left_out):
        low, order = left_out.amin(-1).sort()
        high = left_out.amax(-1)[order]
    rows = max(1, _BLOCK // nodes)
    for a in range(0, nodes, rows):
        b = min(a + rows, nodes)
        logits = z[a:b] @ z.T
        logits[torch.ones(b - a, nodes, dtype=torch.bool).tril(a)] = -torch.inf
        these = slice(*torch.searchsorted(low, torch.tensor([a, b])).tolist())
        logits[low[these] - a, high[these]] = -torch.inf
        yield slice(a, b), logits


def expected_degrees(z: Tensor, bias: float = 0.0) -> Tensor:
    """How many neighbours each node has on average, (N,), if sigmoid(z_i . z_j + b) is the chance of an edge.

    Example:
        >>> expected_degrees(torch.zeros(3, 2))
        tensor([1., 1., 1.])
    """
    degrees = z.new_zeros(len(z))
    for rows, logits in logit_blocks(z):
        p = logits.add_(bias).sigmoid_()
        degrees[rows] += p.sum(1)
        degrees += p.sum(0)
    return degrees
