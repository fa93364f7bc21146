"""Error and activity of sparse codes: FVU, L0, firing density, dead latents."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from narrows.check import refuse
from narrows.core import Sparse

__all__ = ["code_count", "dead", "density", "firings", "fvu", "l0"]


def fvu(x: Tensor, x_hat: Tensor, weight: Tensor | None = None) -> float:
    """The fraction of variance unexplained: ``sum |x - x_hat|^2 / sum |x - mean(x)|^2``.

    The mean is taken for each coordinate over the examples, so that predicting it scores exactly 1.

    Args:
        x: the truth, (B, ...).
        x_hat: the reconstruction, of the same shape.
        weight: how much each element counts, broadcastable to x; all alike when None.

    Example:
        >>> x = torch.tensor([[0.0], [2.0]])
        >>> fvu(x, torch.full_like(x, 1.0))
        1.0
    """
    if x.shape != x_hat.shape or x.ndim < 1 or len(x) == 0:
        raise refuse("x_hat", tuple(x_hat.shape), f"of the same shape as x, {tuple(x.shape)}, and not empty")
    truth = x.detach().double()
    counts = torch.ones((), dtype=torch.double) if weight is None else weight.detach().double()
    error = float(((truth - x_hat.detach().double()).square() * counts).sum())
    spread = float(((truth - truth.mean(0)).square() * counts).sum())
    if spread == 0:
        return 0.0 if error == 0 else math.inf
    return error / spread


def firings(z: Tensor | Sparse) -> Tensor:
    """In how many codes each latent is not zero, (N,) whole numbers.

    Args:
        z: codes (..., N); every axis but the last is a code of its own.
    """
    if not isinstance(z, Sparse):
        return (z.detach() != 0).flatten(0, -2).sum(0)
    on = z.indices[z.values != 0]
    return torch.bincount(on.flatten(), minlength=z.width)


def density(z: Tensor | Sparse) -> Tensor:
    """The share of codes in which each latent fires, (N,) float64.

    Example:
        >>> density(torch.tensor([[1.0, 0.0], [2.0, 3.0]]))
        tensor([1.0000, 0.5000], dtype=torch.float64)
    """
    return firings(z).double() / code_count(z)


def l0(z: Tensor | Sparse) -> float:
    """How many latents are not zero in one code, on average.

    Example:
        >>> l0(torch.tensor([[1.0, 0.0], [2.0, 3.0]]))
        1.5
    """
    return float(firings(z).sum()) / code_count(z)


def dead(z: Tensor | Sparse) -> int:
    """How many latents fire in none of these codes.

    Example:
        >>> dead(torch.tensor([[1.0, 0.0, 0.0], [2.0, 3.0, 0.0]]))
        1
    """
    return int((firings(z) == 0).sum())


def code_count(z: Tensor | Sparse) -> int:
    """How many codes there are: all axes but the last.

    Example:
        >>> code_count(torch.zeros(3, 4, 9))
        12
    """
    values = z.values if isinstance(z, Sparse) else z
    count = values[..., 0].numel() if values.ndim > 1 and values.shape[-1] else 0
    if count == 0:
        raise refuse("z", tuple(values.shape), "codes (..., N) with at least one code")
    return count
