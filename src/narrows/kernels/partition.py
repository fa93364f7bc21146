"""k-means as a partition of rows, without empty clusters."""

from __future__ import annotations

import torch
from torch import Tensor

from narrows.kernels.medoids import nearest_centre, start_rows

__all__ = ["partition"]


@torch.no_grad()
def partition(x: Tensor, count: int, iterations: int = 30) -> Tensor:
    """The clusters of rows by k-means, none of them empty.

    Lloyd's algorithm with k-means++ initialisation. An empty cluster gets the row that is farthest from the centre of
    its cluster, so that also equal rows are divided.

    Args:
        x: rows (N, D).
        count: number of clusters, at most N.
        iterations: the maximum number of rounds.

    Returns:
        The cluster of each row, (N,), from 0 to count - 1.

    Example:
        >>> from narrows.core import seeded
        >>> with seeded(0):
        ...     found = partition(torch.tensor([[0.0], [1.0], [9.0], [10.0]]), 2)
        >>> bool(found[0] == found[1] != found[2] == found[3])
        True

    Reference:
        Arthur and Vassilvitskii, k-means++: The Advantages of Careful Seeding, 2007.
    """
    centres = x[start_rows(x, count)]
    labels = _filled(x, nearest_centre(x, centres), centres)
    for _ in range(iterations):
        sizes = labels.bincount(minlength=count)
        centres = torch.zeros_like(centres).index_add_(0, labels, x) / sizes[:, None]
        new = _filled(x, nearest_centre(x, centres), centres)
        if torch.equal(new, labels):
            break
        labels = new
    return labels


def _filled(x: Tensor, labels: Tensor, centres: Tensor) -> Tensor:
    """Labels of which none is missing: rows far from their centres move to empty clusters."""
    labels = labels.clone()
    away = (x - centres[labels]).square().sum(1)
    sizes = labels.bincount(minlength=len(centres))
    for cluster in (sizes == 0).nonzero().flatten().tolist():
        movable = sizes[labels] > 1
        row = away.masked_fill(~movable, -1.0).argmax()
        sizes[labels[row]] -= 1
        labels[row], sizes[cluster], away[row] = cluster, 1, 0.0
    return labels
