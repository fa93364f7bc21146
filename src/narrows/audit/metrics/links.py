"""Link prediction: the ranking of edges among other pairs of nodes by the inner products of their codes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Links", "expected_degrees", "logit_blocks", "rank_links"]

_BLOCK = 1 << 20
"""Pairs that are ranked in one block."""


class Links(NamedTuple):
    """The ranking of edges (positives) among pairs without an edge (negatives).

    Args:
        auc: the chance that a positive scores above a negative; a tie counts half.
        average_precision: the share of positives among the pairs ranked at least as high as a positive, the mean over
            the positives.
        negatives: the number of negatives.
    """

    auc: float
    average_precision: float
    negatives: int


def rank_links(positive: Tensor, negatives: Iterable[Tensor], share: float = 1.0) -> Links:
    """Rank the scores of positives among those of negatives, which come in parts and are not kept.

    Args:
        positive: scores of the positives, (P,).
        negatives: scores of the negatives, of any shape; minus infinity is ignored.
        share: the share of all negatives that these are, if they are a sample.

    Example:
        >>> rank_links(torch.tensor([3.0, 1.0]), [torch.tensor([2.0, 0.0, 0.0])])
        Links(auc=0.8333333333333334, average_precision=0.8333333333333333, negatives=3)
    """
    ordered = positive.double().sort().values
    above = torch.zeros(
        len(ordered) + 1, dtype=torch.long
    )  # negatives, by the number of positives below them
    reach, total = above.clone(), 0
    for part in negatives:
        scores = part.flatten().double()
        scores = scores[scores > -torch.inf]
        total += len(scores)
        above += torch.searchsorted(ordered, scores).bincount(minlength=len(above))
        reach += torch.searchsorted(ordered, scores, right=True).bincount(minlength=len(above))
    over, even = (n.flip(0).cumsum(0).flip(0)[1:].double() for n in (above, reach))
    at_least = (len(ordered) - torch.searchsorted(ordered, ordered)).double()
    precision = at_least / (at_least + even / share)
    auc = 1 - float((over + even).mean()) / (2 * max(1, total))
    return Links(auc, float(precision.mean()), round(total / share))


def logit_blocks(z: Tensor, left_out: Tensor | None = None) -> Iterator[tuple[slice, Tensor]]:
    """The inner products of the pairs i < j of one graph, some rows at a time; minus infinity at other entries.

    Args:
        z: the codes of the nodes, (N, Z).
        left_out: pairs that are left out too, (M, 2), each once, in either order.

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
    """The expected degree of each node, (N,), if sigmoid(z_i . z_j + b) is the probability of an edge.

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
