"""What proofs on counts share: principal components of their logarithms."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["logs", "principal"]

_SCALE = 1000.0


def logs(x: Tensor) -> Tensor:
    """log(1 + 1000 times the share of each count in its total), (N, D).

    Example:
        >>> torch.testing.assert_close(logs(torch.tensor([[1.0, 3.0]])).exp(), torch.tensor([[251.0, 751.0]]))
    """
    return (_SCALE * x / x.sum(1, keepdim=True)).log1p()


def principal(train: Tensor, test: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """The first principal components of the training rows: those of both parts, (N, width) and (M, width).

    Example:
        >>> x = torch.randn(20, 3)
        >>> principal(x, x[:5], 2)[1].shape
        torch.Size([5, 2])
    """
    mean = train.mean(0)
    axes = torch.linalg.svd(train - mean, full_matrices=False)[2][:width]
    return (train - mean) @ axes.T, (test - mean) @ axes.T
