"""Retrieval of the examples of a subdomain: those nearest to a few seeds."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from narrows.core.check import refuse, whole
from narrows.data.dataset import Dataset
from narrows.data.scaling import Scaling

__all__ = ["related"]

_CHUNK = 8192


@torch.no_grad()
def related(dataset: Dataset, seeds: Tensor, n: int) -> Dataset:
    """The n examples nearest to any of some seeds, nearest first: dense retrieval.

    The similarity is the cosine after subtracting the mean of the examples, as activations of a model share a
    large mean. Memory-mapped data are read into memory, scaled.

    Args:
        dataset: the examples to search.
        seeds: a few scaled examples of the subdomain, (S, *shape).
        n: number of examples.

    Raises:
        RequestError: no seeds, seeds of another shape, or n out of range.

    Example:
        >>> from narrows.data.scaling import Scaling
        >>> data = Dataset(torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0], [2.0, 0.1]]), Scaling(), (2,))
        >>> related(data, torch.tensor([[1.0, 0.0]]), 2).all().x
        tensor([[1.0000, 0.0000],
                [2.0000, 0.1000]])
    """
    whole("n", n, low=1, high=len(dataset))
    if seeds.shape[1:] != torch.Size(dataset.shape) or len(seeds) == 0:
        raise refuse("seeds", tuple(seeds.shape), f"one or more examples of shape {dataset.shape}")
    parts = [slice(start, min(start + _CHUNK, len(dataset))) for start in range(0, len(dataset), _CHUNK)]
    mean = torch.stack([dataset.batch(part).x.flatten(1).double().sum(0) for part in parts]).sum(0)
    mean = (mean / len(dataset)).float()
    queries = F.normalize(seeds.flatten(1).float() - mean, dim=1)
    scores = [(F.normalize(dataset.batch(p).x.flatten(1) - mean, dim=1) @ queries.T).amax(1) for p in parts]
    best = torch.cat(scores).topk(n).indices
    if dataset.mapped:
        return Dataset(dataset.batch(best).x, Scaling(), dataset.shape)
    return dataset.rows(best)
