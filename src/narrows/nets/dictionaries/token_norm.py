"""The norm of each example (token) that an encoder applies and a dictionary reverts."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["TOKEN_NORMS", "normalise", "restore"]

TOKEN_NORMS = ("none", "mean", "layer", "length")
"""No norm; mean 0 of the values of each example; mean 0 and variance 1; length sqrt(D)."""

_EPS = 1e-5


def normalise(x: Tensor, norm: str) -> tuple[Tensor, Tensor]:
    r"""Normalise each example, and return what `restore` needs to revert it.

    .. math:: \text{layer: } \frac{x - \bar x}{s + 10^{-5}}, \qquad \text{length: } \frac{\sqrt{D}}{\|x\|}\, x

    with s the standard deviation of the D values, with D - 1 in its denominator; ``mean`` only subtracts the
    mean. An example of zeros stays as it is.

    Args:
        x: examples, (B, D).
        norm: ``mean``, ``layer`` or ``length``.

    Returns:
        the normalised examples (B, D), and their shifts and scales (B, 2).

    Example:
        >>> normalise(torch.tensor([[3.0, 4.0]]), "length")[1]
        tensor([[0.0000, 3.5355]])
    """
    if norm != "length":
        shift = x.mean(-1, keepdim=True)
        x = x - shift
        if norm == "mean":
            return x, torch.cat([shift, torch.ones_like(shift)], -1)
        scale = x.std(-1, keepdim=True)
        return x / (scale + _EPS), torch.cat([shift, scale], -1)
    scale = torch.linalg.vector_norm(x, dim=-1, keepdim=True) / x.shape[-1] ** 0.5
    coefficient = torch.where(scale > 0, 1 / scale, 1.0)
    return x * coefficient, torch.cat([torch.zeros_like(scale), scale], -1)


def restore(x: Tensor, moments: Tensor) -> Tensor:
    """Revert `normalise`: multiply by the scales, and add the shifts, of moments (..., 2)."""
    return x * moments[..., 1:] + moments[..., :1]
