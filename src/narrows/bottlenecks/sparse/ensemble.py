"""TopK codes of an ensemble of autoencoders that are trained jointly."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from narrows.bottlenecks.sparse.latents import SparseBottleneck
from narrows.core import Evidence, Sparse
from narrows.core.check import whole
from narrows.core.evidence import EnsembleCodes
from narrows.kernels.sparse import LazyLinear, top

__all__ = ["Ensemble"]


class Ensemble(SparseBottleneck):
    r"""S codes of N latents each, with the k largest of each active; the decoder reads their mean.

    .. math:: z = \tfrac{1}{S} (z_1, \dots, z_S), \qquad z_s = \mathrm{ReLU}(\mathrm{TopK}(h_s))

    The pre-activations of all members are concatenated, (B, S N). The evidence `EnsembleCodes` holds the
    codes of the members, (B, S, k) over all S N latents, for an objective that trains each of them
    separately. After training, `use` selects a single member.

    Args:
        members: number of autoencoders, S.
        latents: number of latents of each, N.
        k: number of active latents of an example.

    Raises:
        RequestError: k is not between 1 and the number of latents.

    Example:
        >>> bottleneck = Ensemble(2, 2, 1)
        >>> bottleneck(torch.tensor([[3.0, 1.0, 2.0, 4.0]])).z.dense()
        tensor([[1.5000, 0.0000, 0.0000, 2.0000]])
        >>> bottleneck.use(1)
        >>> bottleneck.eval()(torch.tensor([[3.0, 1.0, 2.0, 4.0]])).z.dense()
        tensor([[0., 0., 0., 4.]])
    """

    def __init__(self, members: int, latents: int, k: int) -> None:
        super().__init__(whole("members", members) * whole("latents", latents))
        self.members, self.each = members, latents
        self.k = whole("k", k, low=1, high=latents, fix="k cannot exceed ``latents``.")
        self.only_member: int | None = None

    def use(self, member: int | None) -> None:
        """In `eval()` use only this member, counting from 0; None for the mean of all."""
        self.only_member = None if member is None else whole("member", member, low=0, high=self.members - 1)

    def activate_with_evidence(
        self, pre: Tensor | LazyLinear
    ) -> tuple[Sparse, dict[str, Tensor], tuple[Evidence, ...]]:
        """The mean of the members' codes, or the code of one member; and the codes of all as evidence."""
        if not self.training and self.only_member is not None:
            return self._code(pre, self.only_member), {}, ()
        codes = [self._code(pre, member) for member in range(self.members)]
        indices = torch.stack([code.indices for code in codes], 1)
        values = torch.stack([code.values for code in codes], 1)
        mean = Sparse(indices.flatten(1), values.flatten(1) / self.members, self.width)
        return mean, {}, (EnsembleCodes(Sparse(indices, values, self.width)),)

    def activate(self, pre: Tensor | LazyLinear) -> tuple[Sparse, dict[str, Tensor]]:
        """The mean of the members' codes, or the code of one member."""
        return self.activate_with_evidence(pre)[:2]

    def _code(self, pre: Tensor | LazyLinear, member: int) -> Sparse:
        """The code of one member, indexed over the latents of all."""
        start = member * self.each
        own = slice(start, start + self.each)
        if isinstance(pre, LazyLinear):
            found = top(replace(pre, weight=pre.weight[own], bias=pre.bias[own]), self.k)
        else:
            found = top(pre[:, own], self.k)
        return Sparse(found.indices + start, found.values.relu(), self.width)
