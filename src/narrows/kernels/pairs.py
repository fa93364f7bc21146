"""Sums over all pairs of rows, a chunk of rows at a time."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

__all__ = ["Kernel", "pair_sums", "squared_distances"]

Kernel: TypeAlias = Callable[[Tensor], Tensor]
"""From squared distances to the values of a kernel."""

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
    centre = b.detach().mean(0)  # far from 0, the squares below would lose the digits of the distances
    a, b = a - centre, b - centre
    # Not `cdist`, whose gradient is not defined at distance 0.
    return (a.square().sum(-1)[:, None] + b.square().sum(-1) - 2 * a @ b.T).clamp_min(0)


def pair_sums(*factors: tuple[Tensor, Tensor, Kernel], chunk: int = _CHUNK) -> Tensor:
    r"""The sum over j of a product of kernels of pairs (i, j), for each i.

    .. math:: s_i = \sum_j \prod_f k_f(\|a_{f,i} - b_{f,j}\|^2)

    Distances and kernels are computed for some rows i at a time, and again in the backward pass, so that memory is
    linear in the number of rows.

    Args:
        factors: for each kernel a (n, Z), b (m, Z), and the function from squared distances to k.
        chunk: the number of pairs at a time.

    Returns:
        (n,).

    Example:
        >>> a, b = torch.zeros(2, 1), torch.tensor([[1.0], [-3.0]])
        >>> pair_sums((a, b, lambda squared: squared))
        tensor([10., 10.])
        >>> pair_sums((a, b, lambda squared: squared), (a, b, lambda squared: squared))
        tensor([82., 82.])
    """

    def some(*rows: Tensor) -> Tensor:
        terms = [k(squared_distances(a, b)) for a, (_, b, k) in zip(rows, factors, strict=True)]
        return math.prod(terms[1:], start=terms[0]).sum(-1)

    size = max(1, chunk // max(1, len(factors[0][1])))
    pieces = list(zip(*(a.split(size) for a, _, _ in factors), strict=True))
    again = torch.is_grad_enabled() and len(pieces) > 1
    return torch.cat(
        [checkpoint(some, *rows, use_reentrant=False) if again else some(*rows) for rows in pieces]
    )
