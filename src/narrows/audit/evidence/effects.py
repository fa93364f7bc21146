"""The effects of single latents of a sparse code on the decoder's output."""

from __future__ import annotations

import torch
from torch import Tensor

from narrows.audit.evidence.view import View
from narrows.core import Sparse, dense
from narrows.kernels.metrics import firings

__all__ = ["atoms", "effects"]

_CHUNK = 512


def atoms(view: View, most: int) -> tuple[Tensor, Tensor]:
    """The latents that fire most, (n,), and their atoms, (n, *shape).

    An atom is the change of the decoder's output when one latent goes from 0 to the mean of its absolute activations.
    """
    z = view.sparse
    assert z is not None
    fires = firings(z)
    order = fires.argsort(descending=True, stable=True)
    chosen = order[fires[order] > 0][:most]
    return chosen, effects(view, chosen, _strength(z, len(fires))[chosen] / fires[chosen])


def effects(view: View, latents: Tensor, heights: Tensor) -> Tensor:
    """The change of the decoder's output when one latent goes from 0 to a given value, (n, *shape).

    Args:
        view: of a model with a sparse code.
        latents: the numbers of the latents, (n,).
        heights: their values, (n,).
    """
    z = view.sparse
    assert z is not None
    parts = []
    sparse = isinstance(z, Sparse)
    shape, width = (z.values.shape[1:-1], z.width) if isinstance(z, Sparse) else (z.shape[1:-1], z.shape[-1])
    for some, height in zip(latents.split(_CHUNK), heights.split(_CHUNK), strict=True):
        rows = torch.zeros(len(some), dtype=torch.long)
        one = _one_hot(some, height, shape, width, sparse)
        none = _one_hot(some[:1], height[:1] * 0, shape, width, sparse)
        parts.append(_output(view, one, rows) - _output(view, none, rows[:1]))
    return torch.cat(parts) if parts else torch.empty(0)


def _output(view: View, code: Tensor | Sparse, rows: Tensor) -> Tensor:
    """The decoder's output for a code; a skip connection, if there is one, gets the same input for all."""
    return view.decode(code if view.skip is None else (code, view.skip[rows]), rows)


def _strength(z: Tensor | Sparse, width: int) -> Tensor:
    """The sum of each latent's absolute values, (N,), so that signed values do not cancel."""
    if isinstance(z, Sparse):
        zeros = torch.zeros(width, dtype=z.values.dtype)
        return zeros.index_add(0, z.indices.flatten(), z.values.abs().flatten())
    return z.abs().flatten(0, -2).sum(0)


def _one_hot(
    latents: Tensor, height: Tensor, positions: torch.Size, width: int, sparse: bool
) -> Tensor | Sparse:
    """A code for each latent in which only that one is on, at all positions."""
    spread = (-1, *[1] * len(positions), 1)
    indices = latents.reshape(spread).expand(-1, *positions, 1)
    values = height.reshape(spread).expand(-1, *positions, 1)
    code = Sparse(indices.contiguous(), values.contiguous(), width)
    made: Tensor | Sparse = code if sparse else dense(code)
    return made
