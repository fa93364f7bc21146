"""Sparse codes by iterative shrinkage with the decoder's own dictionaries."""

from __future__ import annotations

import torch

from narrows.bottlenecks.sparse.latents import SparseBottleneck
from narrows.core import Code, Tree
from narrows.core.check import whole
from narrows.core.evidence import Latents

__all__ = ["Shrinkage"]


class Shrinkage(SparseBottleneck):
    r"""A sparse code by iterative shrinkage from 0.

    .. math:: z \approx \arg\min_z \|x - f(z)\|^2 + \lambda \|z\|_1

    Features are the examples and a function that makes one step on their codes
    (`nets.deep_dictionary.DeepEncoder`). The cost ``l1`` is the sum of magnitudes. The code is detached.

    Args:
        latents: number of latents, N.
        iterations: number of steps.

    Raises:
        RequestError: a number out of range.
    """

    smooth = False

    def __init__(self, latents: int, iterations: int = 50) -> None:
        super().__init__(latents)
        self.iterations = whole("iterations", iterations)

    @torch.no_grad()
    def forward(self, h: Tree, samples: tuple[int, ...] = ()) -> Code:
        """The code after all steps; samples are copies."""
        x, step = h
        z = x.new_zeros(len(x), self.width)
        for _ in range(self.iterations):
            z = step(z)
        size = z.abs().sum(1)
        return Code(
            z.expand(*samples, *z.shape), {"l1": size.expand(*samples, *size.shape)}, evidence=(Latents(z),)
        )
