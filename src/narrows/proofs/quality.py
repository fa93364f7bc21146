"""Quality of reconstructions and samples, for several proofs."""

from __future__ import annotations

import torch
from torch import Tensor

from narrows.audit.metrics.frechet import Features, classifier_features, frechet, principal_features
from narrows.core import Autoencoder, Batch
from narrows.data import Dataset
from narrows.proofs.engine import Trial

__all__ = [
    "decoded",
    "distance",
    "edges",
    "error",
    "features",
    "independent",
    "rank_correlation",
    "reconstructed",
]


def features(trial: Trial, steps: int = 400, train: Dataset | None = None) -> Features:
    """Features of a trial's data, or of others: a small classifier's if there are labels, else principal components."""
    train = trial.data.train if train is None else train
    rows = min(len(train), 20_000)
    if train.labels is None:
        return principal_features(train.all(rows).x)
    return classifier_features(train.all(rows).x, train.labels[:rows], steps=steps, seed=trial.seed)


def distance(look: Features, made: Tensor, test: Batch) -> float:
    """The Frechet distance of as many test examples' features from those of what was made."""
    return frechet(look(made.to(test.x)), look(test.x[: len(made)]))


@torch.no_grad()
def error(model: Autoencoder, test: Batch) -> float:
    """The mean squared error of an element of a test example."""
    return float((model.reconstruct(test) - test.target).square().mean())


def independent(indices: Tensor, codes: int, n: int) -> Tensor:
    """Draw n grids of indices, (n, L): each place as often as in `indices` (N, L), whatever stands elsewhere.

    Example:
        >>> independent(torch.tensor([[0, 1], [0, 1]]), 4, 3).tolist()
        [[0, 1], [0, 1], [0, 1]]
    """
    counts = torch.nn.functional.one_hot(indices, codes).sum(0).float()
    return torch.multinomial(counts, n, replacement=True).T


def decoded(model: Autoencoder, z: Tensor) -> Tensor:
    """E[x | z]."""
    return model.likelihood.mean(model.decode(z))


@torch.no_grad()
def reconstructed(model: Autoencoder, test: Batch) -> Tensor:
    """Reconstructions of the test examples in another order, so that none is compared with itself."""
    return model.reconstruct(test).flip(0)


def edges(made: Tensor, test: Batch) -> float:
    """The mean squared difference of neighbouring pixels (B, C, H, W), as a share of that of the test examples.

    Example:
        >>> x = torch.eye(4)[None, None]
        >>> edges(0.5 * x, Batch(x))
        0.25
    """
    return _differences(made) / _differences(test.x)


def _differences(x: Tensor) -> float:
    return float((x.diff(dim=-1).square().mean() + x.diff(dim=-2).square().mean()) / 2)


def rank_correlation(a: Tensor, b: Tensor) -> float:
    """Spearman's rank correlation, with mean ranks of equal values.

    Example:
        >>> round(rank_correlation(torch.tensor([1.0, 2.0, 9.0]), torch.tensor([0.0, 3.0, 4.0])), 6)
        1.0
    """
    return float(torch.corrcoef(torch.stack([_ranks(a), _ranks(b)]))[0, 1])


def _ranks(values: Tensor) -> Tensor:
    below = (values[None] < values[:, None]).sum(1)
    same = (values[None] == values[:, None]).sum(1)
    return below.double() + (same - 1) / 2
