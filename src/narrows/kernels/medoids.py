"""k-medoids: clusters whose centres are rows of the data."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["k_medoids", "nearest_centre", "start_rows"]

_CHUNK = 1 << 24
"""Largest number of distances that are computed at once."""


@torch.no_grad()
def k_medoids(x: Tensor, count: int, iterations: int = 20) -> Tensor:
    """The indices of medoids: rows with the least sum of distances within their clusters.

    Rows are assigned to the nearest medoid and medoids chosen in turn, from a start like that of k-means++.

    Args:
        x: rows (N, D).
        count: number of medoids, at most N.
        iterations: the maximum number of rounds.

    Returns:
        (count,) indices without repetition.

    Example:
        >>> from narrows.core import seeded
        >>> with seeded(0):
        ...     k_medoids(torch.tensor([[0.0], [1.0], [2.0], [9.0], [10.0], [11.0]]), 2).sort().values
        tensor([1, 4])

    Reference:
        Park and Jun, A Simple and Fast Algorithm for K-Medoids Clustering, 2009.
    """
    chosen = start_rows(x, count)
    for _ in range(iterations):
        labels = nearest_centre(x, x[chosen])
        labels[chosen] = torch.arange(count, device=x.device)  # rows may be equal
        new = chosen.clone()
        for k in range(count):
            rows = (labels == k).nonzero().squeeze(1)
            new[k] = rows[_total(x[rows]).argmin()]
        if torch.equal(new, chosen):
            break
        chosen = new
    return chosen


def start_rows(x: Tensor, count: int) -> Tensor:
    """Rows drawn one after the other, with chances by the squared distance from those drawn."""
    chosen = torch.randint(len(x), (1,), device=x.device)
    squared = x.new_full((len(x),), torch.inf)
    free = torch.ones(len(x), dtype=torch.bool, device=x.device)
    for _ in range(count - 1):
        squared = torch.minimum(squared, (x - x[chosen[-1]]).square().sum(1))
        free[chosen[-1]] = False
        chances = torch.where(free, squared.clamp_min(1e-30), squared.new_zeros(()))
        chosen = torch.cat([chosen, torch.multinomial(chances, 1)])
    return chosen


def nearest_centre(x: Tensor, centres: Tensor) -> Tensor:
    """The index of the nearest of K centres for each row, (N,)."""
    rows = max(1, _CHUNK // len(centres))
    return torch.cat([torch.cdist(part, centres).argmin(1) for part in x.split(rows)])


def _total(rows: Tensor) -> Tensor:
    """The sum of the distances of each row from the others."""
    chunk = max(1, _CHUNK // len(rows))
    return torch.cat([torch.cdist(part, rows).sum(1) for part in rows.split(chunk)])
