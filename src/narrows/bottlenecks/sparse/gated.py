"""Gated latents: one path selects the active latents, a second one sets their magnitudes."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from narrows.bottlenecks.sparse.penalised import Penalised
from narrows.core import Evidence, Sparse
from narrows.core.evidence import Gate
from narrows.kernels.sparse import LazyLinear

__all__ = ["Gated"]


class Gated(Penalised):
    r"""A gate selects the active latents, and a second path sets their magnitudes without shrinkage.

    .. math:: \pi = W x + b_{gate}, \qquad m = \mathrm{ReLU}(e^{r} \odot W x + b_{mag}), \qquad z = 1[\pi > 0]\, m

    W and the gate's bias are the encoder's; r and b_mag are parameters of this module. The cost ``l1`` is
    :math:`u \sum_n \mathrm{ReLU}(\pi_n)`, in the sizes of `Penalised`: on the gate, not on z. The gate has
    zero gradient almost everywhere, and is trained by the cost and by the auxiliary loss of
    `objectives.gated`, which reads ReLU(pi) from the evidence `Gate`.

    Args:
        latents: number of latents, N.

    Example:
        >>> code = Gated(3)(torch.tensor([[1.0, -2.0, 3.0]]))
        >>> code.z.tolist(), code.costs["l1"].tolist()
        ([[1.0, 0.0, 3.0]], [4.0])

    Reference:
        Rajamanoharan et al., Improving Dictionary Learning with Gated Sparse Autoencoders, 2024.
        arXiv:2404.16014
    """

    smooth = False  # the gate passes no gradient

    def __init__(self, latents: int) -> None:
        super().__init__(latents)
        self.log_gain = nn.Parameter(torch.zeros(latents))
        self.bias = nn.Parameter(torch.zeros(latents))

    def activate_with_evidence(
        self, pre: Tensor | LazyLinear
    ) -> tuple[Sparse | Tensor, dict[str, Tensor], tuple[Evidence, ...]]:
        """The code, the penalty on the gate, and the gate as evidence."""
        level, gain = self.floor(), self.log_gain.exp()
        offset: Tensor = self.bias
        if isinstance(pre, LazyLinear):
            level, pre = level - pre.bias, replace(pre, bias=torch.zeros_like(pre.bias))
        product, at = self.candidates(pre, level)
        if at is not None:
            level, gain, offset = level[at], gain[at], offset[at]
        gate = (product - level).relu()
        magnitude = (product * gain + offset).relu() * (gate > 0)
        costs = {"l1": self.price(self.sizes(gate, at))}
        return self.code(magnitude, at), costs, (Gate(self.code(gate, at)),)

    def activate(self, pre: Tensor | LazyLinear) -> tuple[Sparse | Tensor, dict[str, Tensor]]:
        """The code and the penalty on the gate."""
        z, costs, _ = self.activate_with_evidence(pre)
        return z, costs

    def rescale(self, factor: Tensor) -> None:
        """Rescale the bias of the magnitudes with the pre-activations."""
        super().rescale(factor)
        self.bias.mul_(factor)

    def reset(self, rows: Tensor) -> list[nn.Parameter]:
        """Reset the second path of some latents to the first."""
        self.log_gain[rows] = 0
        self.bias[rows] = 0
        return [*super().reset(rows), self.log_gain, self.bias]
