"""TopK: the k largest latents are active, the others are 0."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from narrows.bottlenecks.sparse.latents import SparseBottleneck
from narrows.core import Sparse
from narrows.core.check import number, refuse, whole
from narrows.kernels.sparse import LazyLinear, top

__all__ = ["TopK"]


class TopK(SparseBottleneck):
    r"""Keep the k largest pre-activations of each example: :math:`z = \mathrm{ReLU}(\mathrm{TopK}(h))`.

    L0 is set directly: no penalty shrinks the latents. The ReLU removes negative values among the k largest.
    The code is `Sparse`; of lazy pre-activations (`kernels.LazyLinear`) only the selected ones are kept.

    Args:
        latents: number of latents, N.
        k: number of active latents of an example.
        signed: omit the ReLU, as in the linear k-sparse autoencoder.
        begin: number of active latents at the first step of training; k if 0.
        over: number of steps over which it changes linearly from `begin` to k.
        alpha: in ``eval()``, alpha k latents are active instead of k.
        groupmax: keep the largest of each of k groups of consecutive latents instead, as sparsify does.

    Raises:
        RequestError: k, or alpha k, is not between 1 and the number of latents; with groups, k does not divide
            it.

    Example:
        >>> TopK(4, 2)(torch.tensor([[3.0, -1.0, 2.0, 1.0]])).z.dense()
        tensor([[3., 0., 2., 0.]])

    Reference:
        Makhzani and Frey, k-Sparse Autoencoders, 2013. arXiv:1312.5663.
        Gao et al., Scaling and evaluating sparse autoencoders, 2024. arXiv:2406.04093
    """

    splits = ()  # indices only, equal on all processes

    def __init__(
        self,
        latents: int,
        k: int,
        *,
        signed: bool = False,
        begin: int = 0,
        over: int = 0,
        alpha: float = 1.0,
        groupmax: bool = False,
    ) -> None:
        super().__init__(latents)
        self.groupmax = groupmax
        if groupmax and latents % k:
            raise refuse(
                "k", k, f"a divisor of the number of latents, {latents}", "The groups have equal sizes."
            )
        self.k = whole("k", k, low=1, high=latents, fix="k cannot exceed ``latents``.")
        self.begin = whole("begin_k", begin, low=0, high=latents, fix="It cannot exceed ``latents``.") or k
        self.over = whole("anneal", over, low=0)
        self.signed, self.now = signed, self.begin if over else k
        share = number("alpha", alpha, low=0) * k
        self.tested = whole("alpha", round(share), high=latents, fix="alpha k cannot exceed ``latents``.")

    def before_step(self, step: int) -> None:
        """Set the number of active latents of this step."""
        left = 1 - min(1.0, step / self.over) if self.over else 0.0
        self.now = round(self.k + (self.begin - self.k) * left)

    def settled(self, step: int) -> bool:
        """Whether k has reached its final value."""
        return step >= self.over

    def activate(self, pre: Tensor | LazyLinear) -> tuple[Sparse, dict[str, Tensor]]:
        """The k largest, rectified."""
        return self.largest(pre, self.now if self.training else self.tested), {}

    def use(self, k: int) -> None:
        """Use k active latents in ``eval()`` from now on, for models trained for several k."""
        self.tested = whole("k", k, high=self.width, fix="k cannot exceed ``latents``.")

    def largest(self, pre: Tensor | LazyLinear, k: int) -> Sparse:
        """The code of the k largest latents, at most all."""
        code = self._largest_of_groups(pre, k) if self.groupmax else top(pre, min(k, self.width))
        return code if self.signed else replace(code, values=code.values.relu())

    def _largest_of_groups(self, pre: Tensor | LazyLinear, k: int) -> Sparse:
        """The largest of each of k groups."""
        dense = pre.dense() if isinstance(pre, LazyLinear) else pre
        values, indices = dense.unflatten(-1, (k, -1)).max(-1)
        first = torch.arange(0, self.width, self.width // k, device=indices.device)
        return Sparse(indices + first, values, self.width)
