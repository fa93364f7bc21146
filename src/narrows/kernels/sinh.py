"""The hyperbolic sine over its argument."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["log_sinhc"]

_SMALL = 0.05


def log_sinhc(x: Tensor) -> Tensor:
    """log(sinh(x) / x) for x of at least 0, without overflow.

    Example:
        >>> log_sinhc(torch.tensor([0.0, 1.0]))  # sinh(1) = 1.1752
        tensor([0.0000, 0.1614])
    """
    small = x.clamp(max=_SMALL).square()
    series = small / 6 - small.square() / 180
    large = x.clamp_min(_SMALL)
    exact = large + torch.log(-torch.expm1(-2 * large)) - (2 * large).log()
    return torch.where(x < _SMALL, series, exact)
