"""How many latents an example has on, and whether that follows how many atoms it has."""

from __future__ import annotations

import torch
from torch import Tensor

from narrows.core import Autoencoder, Batch, Sparse
from narrows.core.evidence import Latents

__all__ = ["chosen", "correlation"]


def chosen(model: Autoencoder, batch: Batch) -> Tensor:
    """How many latents are on in each example, (B,)."""
    z = model.encode(batch)[Latents].z
    return ((z.values if isinstance(z, Sparse) else z) != 0).sum(-1).double()


def correlation(a: Tensor, b: Tensor) -> float:
    """Pearson's correlation; 0 where one of the two does not vary."""
    return float(torch.corrcoef(torch.stack([a, b]))[0, 1].nan_to_num(0.0))
