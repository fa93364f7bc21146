"""Sums over all pairs of rows, a chunk of rows at a time."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

__all__ = ["pair_sums", "squared_distances"]

_CHUNK = 1 << 19
"""The number of pairs whose distances are in memory at a time."""


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """The squared distances of all pairs of rows, (n, m), with gradients that are finite at distance 0.

    Args:
        a: (n, Z).
        b: (m, Z).

    Example:
        >>> squared_distances(torch.tensor([[0.0]]), torch.tensor([[1.0], [-3.0]]))
        tensor([[1., 9.]])
    """
    # Not `cdist`, whose gradient is not defined at distance 0.
    return (a.square().sum(-1)[:, None] + b.square().sum(-1) - 2 * a @ b.T).clamp_min(0)


def pair_sums(a: Tensor, b: Tensor, kernel: Callable[[Tensor], Tensor], chunk: int = _CHUNK) -> Tensor:
    r"""The sum of a kernel over the rows of `b`, for each row of `a`.

    .. math:: s_i = \sum_j k(\|a_i - b_j\|^2)

    Distances and kernel are computed for some rows of `a` at a time, and again in the backward pass, so that memory is
    linear in the number of rows.

    Args:
        a: (n, Z).
        b: (m, Z).
        kernel: from squared distances to k.
        chunk: the number of pairs at a time.

    Returns:
        (n,).

    Example:
        >>> pair_sums(torch.zeros(2, 1), torch.tensor([[1.0], [-3.0]]), lambda squared: squared)
        tensor([10., 10.])
    """

    def some(rows: Tensor, others: Tensor) -> Tensor:
        return kernel(squared_distances(rows, others)).sum(-1)

    pieces = a.split(max(1, chunk // max(1, len(b))))
    again = torch.is_grad_enabled() and len(pieces) > 1
    return torch.cat(
        [checkpoint(some, rows, b, use_reentrant=False) if again else some(rows, b) for rows in pieces]
    )
