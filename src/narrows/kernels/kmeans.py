"""Nearest codes and k-means: exact, with memory that does not grow with tokens times codes."""

from __future__ import annotations

import torch
from torch import Tensor

from narrows.core import all_sum

__all__ = ["divided", "kmeans", "nearest", "scatter_sum", "spread"]

_BLOCK = 64
_SCORES = 1 << 19
"""The number of scores held at once: 2 MB of float32, which fit in a core's cache."""
_ROUNDS = 8
"""The number of rounds of the k-means seeding: as k-means++, with several centres per round."""


@torch.no_grad()
def nearest(x: Tensor, codebook: Tensor, scores: int = _SCORES) -> Tensor:
    r"""The index of the nearest code of every row, exactly.

    .. math:: \arg\min_k \|x_i - e_k\|^2 = \arg\min_k \tfrac12\|e_k\|^2 - x_i^\top e_k

    Rows are processed in chunks. The minimum of a row is found in two levels, first the block of codes that
    contains it, then its position in the block, because reductions of values are vectorised and those of
    indices are not.

    Args:
        x: rows (..., d).
        codebook: codes e, (K, d).
        scores: the maximum number of the N times K scores in memory at a time.

    Returns:
        Indices (...); the first of equally near codes.

    Example:
        >>> nearest(torch.tensor([[0.9], [0.1]]), torch.tensor([[0.0], [1.0]]))
        tensor([1, 0])
    """
    with torch.autocast(x.device.type, enabled=False):
        precise = torch.float64 if x.dtype == torch.float64 else torch.float32
        rows, e = x.detach().flatten(0, -2).to(precise), codebook.detach().to(precise)
        half = 0.5 * e.square().sum(-1)
        block = min(_BLOCK, len(e))
        lack = -len(e) % block
        if lack:  # pad the last block with codes at infinite distance
            e = torch.cat([e, e.new_zeros(lack, e.shape[1])])
            half = torch.cat([half, half.new_full((lack,), torch.inf)])
        away, chunk = -e.t(), max(1, scores // len(e))
        found = [_first_of_least(torch.addmm(half, part, away), block) for part in rows.split(chunk)]
    return torch.cat(found).view(x.shape[:-1])


def _first_of_least(scores: Tensor, block: int) -> Tensor:
    blocks = scores.view(len(scores), -1, block)
    where = blocks.amin(-1).argmin(-1)
    inside = blocks[torch.arange(len(scores), device=scores.device), where].argmin(-1)
    return where * block + inside


def scatter_sum(rows: Tensor, indices: Tensor, codes: int) -> tuple[Tensor, Tensor]:
    """The number of rows assigned to each code and their sum, over all processes, without one-hot vectors.

    Args:
        rows: (N, d).
        indices: the code of each row, (N,).
        codes: K.

    Returns:
        Counts (K,) and sums (K, d), in the dtype of the rows.

    Example:
        >>> scatter_sum(torch.tensor([[1.0], [2.0], [4.0]]), torch.tensor([0, 2, 2]), 3)
        (tensor([1., 0., 2.]), tensor([[1.], [0.], [6.]]))
    """
    table = torch.cat([rows, rows.new_ones(len(rows), 1)], -1)
    table = all_sum(rows.new_zeros(codes, table.shape[1]).index_add_(0, indices, table))
    return table[:, -1], table[:, :-1]


def spread(rows: Tensor, n: int, distance: Tensor | None = None) -> Tensor:
    """Draw n of the rows of all processes, the same on each, with probability proportional to `distance`.

    Args:
        rows: (N, d), N >= 1.
        n: the number of rows to draw.
        distance: squared distance of each row from its code, (N,), as in k-means++; uniform if None.

    Returns:
        (n, d). Rows repeat only if there are fewer than n.

    Example:
        >>> far = torch.tensor([0.0, 0.0, 1.0])
        >>> spread(torch.tensor([[1.0], [2.0], [3.0]]), 1, far)
        tensor([[3.]])
    """
    noise = torch.rand(len(rows), device=rows.device).clamp_min(1e-12).log().neg()
    # Exponential races: the n smallest of noise / weight are a draw without replacement by weight.
    race = noise if distance is None else noise / distance.to(noise.dtype).clamp_min(1e-20)
    order = race.argsort()[:n]
    return divided(rows[order[torch.arange(n, device=rows.device) % len(order)]])


def divided(chosen: Tensor) -> Tensor:
    """Rows that each process has chosen from its own, (n, d): process r decides on rows r, r + world, ...

    Example:
        >>> divided(torch.ones(2, 1))
        tensor([[1.],
                [1.]])
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
        mine = torch.arange(len(chosen), device=chosen.device) % world == rank
        chosen = all_sum(torch.where(mine[:, None], chosen, torch.zeros_like(chosen)))
    return chosen


@torch.no_grad()
def kmeans(rows: Tensor, codes: int, iterations: int = 10) -> tuple[Tensor, Tensor]:
    """Lloyd's algorithm over the rows of all processes, with k-means++ initialisation.

    An empty centre is moved to another row, drawn as in k-means++.

    Args:
        rows: (N, d).
        codes: the number of centres, K.
        iterations: the number of iterations.

    Returns:
        Centres (K, d), and the number of rows of each, (K,).

    Example:
        >>> from narrows.core import seeded
        >>> with seeded(0):
        ...     centres, counts = kmeans(torch.tensor([[0.0], [0.0], [9.0], [9.0]]), 2)
        >>> centres.flatten().sort().values, counts
        (tensor([0., 9.]), tensor([2., 2.]))

    Reference:
        Arthur and Vassilvitskii, k-means++, 2007; Bahmani et al., Scalable k-means++, 2012. arXiv:1203.6402
    """
    few = -(-codes // _ROUNDS)
    centres = spread(rows, few)
    while len(centres) < codes:
        new = spread(rows, min(few, codes - len(centres)), _distance(rows, centres[nearest(rows, centres)]))
        centres = torch.cat([centres, new])
    counts = rows.new_zeros(codes)
    for last in [False] * iterations + [True]:
        indices = nearest(rows, centres)
        counts, sums = scatter_sum(rows, indices, codes)
        if last:
            break
        empty = counts == 0
        centres = torch.where(empty[:, None], centres, sums / counts.clamp_min(1)[:, None])
        if bool(empty.any()):
            distance = (rows - centres[indices]).square().sum(-1)
            centres = centres.index_put(
                (empty.nonzero().squeeze(1),), spread(rows, int(empty.sum()), distance)
            )
    return centres, counts


def _distance(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).square().sum(-1)
