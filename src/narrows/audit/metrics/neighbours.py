"""Classes of examples in codes: agreement of clusters with them, and accuracy of nearest neighbours."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["adjusted_rand", "mutual_information", "neighbour_accuracy"]

_CHUNK = 1024


def adjusted_rand(clusters: Tensor, labels: Tensor) -> float:
    r"""The adjusted Rand index: the share of pairs on which two partitions agree, 0 by chance and 1 at best.

    .. math:: \frac{\sum_{ij} \binom{n_{ij}}{2} - E}{\frac12 (A + B) - E},\quad A = \sum_i \binom{n_{i\cdot}}{2},\;
              B = \sum_j \binom{n_{\cdot j}}{2},\; E = A B / \binom{n}{2}

    Args:
        clusters: the cluster of each example, (N,).
        labels: its class, (N,).

    Example:
        >>> adjusted_rand(torch.tensor([1, 1, 0, 0]), torch.tensor([0, 0, 1, 1]))
        1.0

    Reference:
        Hubert and Arabie, Comparing partitions, 1985. doi:10.1007/BF01908075
    """
    table = _table(clusters, labels)
    both, one, other = (_pairs(n) for n in (table, table.sum(1), table.sum(0)))
    expected = one * other / _pairs(table.sum())
    most = (one + other) / 2
    return 1.0 if most == expected else float((both - expected) / (most - expected))


def mutual_information(clusters: Tensor, labels: Tensor) -> float:
    r"""The normalised mutual information of two partitions, :math:`2 I / (H_1 + H_2)`, between 0 and 1.

    Args:
        clusters: the cluster of each example, (N,).
        labels: its class, (N,).

    Example:
        >>> mutual_information(torch.tensor([1, 1, 0, 0]), torch.tensor([0, 0, 1, 1]))
        1.0
    """
    p = _table(clusters, labels)
    p = p / p.sum()
    one, other, joint = (torch.special.entr(q).sum() for q in (p.sum(1), p.sum(0), p))
    return 1.0 if one + other == 0 else float(2 * (one + other - joint) / (one + other))


def neighbour_accuracy(train: Tensor, labels: Tensor, test: Tensor, answers: Tensor, k: int = 15) -> Tensor:
    """Which test examples are of the most frequent class of their k nearest training examples, (M,) bool.

    Args:
        train: codes, (N, F).
        labels: their classes, (N,).
        test: codes of other examples, (M, F).
        answers: their classes, (M,).
        k: number of neighbours, at most N. Of equally frequent classes the first one counts.

    Example:
        >>> x = torch.tensor([[0.0], [0.1], [1.0], [1.1]])
        >>> neighbour_accuracy(x, torch.tensor([0, 0, 1, 1]), x + 0.01, torch.tensor([0, 0, 1, 0]), k=2)
        tensor([ True,  True,  True, False])
    """
    classes = int(torch.cat([labels, answers]).max()) + 1
    predicted = []
    for some in test.split(_CHUNK):
        near = torch.cdist(some, train).topk(min(k, len(train)), largest=False).indices
        predicted.append(torch.nn.functional.one_hot(labels[near], classes).sum(1).argmax(1))
    return torch.cat(predicted) == answers


def _table(clusters: Tensor, labels: Tensor) -> Tensor:
    """How many examples are in each cluster and class, float64."""
    size = int(labels.max()) + 1
    count = (int(clusters.max()) + 1) * size
    return torch.bincount(clusters.long() * size + labels.long(), minlength=count).view(-1, size).double()


def _pairs(n: Tensor) -> Tensor:
    return (n * (n - 1) / 2).sum()
