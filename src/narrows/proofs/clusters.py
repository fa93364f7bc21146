"""Clusters against classes."""

from __future__ import annotations

import torch
from torch import Tensor

from narrows.audit.metrics.matching import Match

__all__ = ["accuracy"]


def accuracy(clusters: Tensor, labels: Tensor) -> float:
    """The share of examples in the class of their cluster, clusters and classes matched one to one at best.

    Args:
        clusters: the cluster of each example, (N,).
        labels: its class, (N,).

    Example:
        >>> accuracy(torch.tensor([1, 1, 0, 0]), torch.tensor([0, 0, 1, 0]))
        0.75
    """
    size = int(max(clusters.max(), labels.max())) + 1
    counts = torch.bincount(clusters.long() * size + labels.long(), minlength=size * size).view(size, size)
    found = Match(counts.double())
    return float(found.similarity[found.true, found.learned].sum()) / len(labels)
