"""Clusters against classes."""

from __future__ import annotations

import torch
from torch import Tensor

from narrows.audit.metrics.matching import Match
from narrows.core import Autoencoder
from narrows.core.check import RequestError
from narrows.kernels.kmeans import kmeans, nearest
from narrows.proofs.reduced import Reduced

__all__ = ["accuracy", "grouped", "labels_of"]


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


def labels_of(data: Reduced, name: str, proof: str) -> tuple[int, Tensor]:
    """How many classes the data have, and the classes of the test examples, (N,).

    Raises:
        RequestError: they have none.
    """
    if data.test.labels is None or data.train.labels is None:
        raise RequestError(f"`{name}` has no classes; the proof of {proof} needs them.")
    return int(data.train.labels.max()) + 1, data.test.labels


def grouped(model: Autoencoder, data: Reduced, clusters: int, rows: int) -> Tensor:
    """The cluster of each test example's features, (N,): k-means on those of the first `rows` of training."""
    centres, _ = kmeans(model.features(data.train.all(rows)), clusters, 50)
    return nearest(model.features(data.test.all()), centres)
