"""Accuracy of a linear probe of classes, by ridge regression."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["ridge_probe"]

_PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Penalties of a standardised feature, over the number of examples."""


def ridge_probe(train: Tensor, labels: Tensor, test: Tensor, answers: Tensor) -> tuple[float, Tensor]:
    r"""Classes from features by least squares, with the penalty that is best for the last fifth of the training rows.

    .. math:: W = \arg\min_W \|X W - Y\|^2 + \lambda B \|W\|^2

    Y are one-hot labels; features are standardised, constant ones are 0.

    Args:
        train: features (B, F), in random order.
        labels: their classes, (B,).
        test: features of other examples, (B2, F).
        answers: their classes, (B2,).

    Returns:
        The accuracy on the last fifth of the training rows, and which test examples are right, (B2,) bool.

    Example:
        >>> x, y = torch.eye(3).repeat(20, 1), torch.arange(3).repeat(20)
        >>> ridge_probe(x, y, x[:3], y[:3])
        (1.0, tensor([True, True, True]))
    """
    classes = int(torch.cat([labels, answers]).max()) + 1
    mean, spread = train.mean(0), train.std(0, correction=0)
    scale = torch.where(spread > 1e-6, 1 / spread.clamp_min(1e-6), torch.zeros_like(spread))
    x, far = ((part - mean) * scale for part in (train, test))
    y = F.one_hot(labels, classes).to(x.dtype)
    kept = len(x) - max(1, len(x) // 5)
    scores = [
        float((_predicted(x[:kept], y[:kept], x[kept:], penalty) == labels[kept:]).double().mean())
        for penalty in _PENALTIES
    ]
    best = max(range(len(scores)), key=scores.__getitem__)
    return scores[best], _predicted(x, y, far, _PENALTIES[best]) == answers


def _predicted(x: Tensor, y: Tensor, far: Tensor, penalty: float) -> Tensor:
    """The classes of rows `far`; the smaller of the two normal equations is solved."""
    middle = y.mean(0)
    wide = x.shape[1] > len(x)
    inner = x @ x.mT if wide else x.mT @ x
    inner.diagonal().add_(penalty * len(x))
    factor = torch.linalg.cholesky(inner)
    if wide:
        weights = x.mT @ torch.cholesky_solve(y - middle, factor)
    else:
        weights = torch.cholesky_solve(x.mT @ (y - middle), factor)
    return (far @ weights + middle).argmax(1)
