"""Gated latents: whether a latent is on, and how much it is, are decided by two paths with tied directions."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from narrows.bottlenecks.sparse.penalised import Penalised
from narrows.core import Evidence
from narrows.core.evidence import Gate
from narrows.kernels.sparse import LazyLinear

__all__ = ["Gated"]


class Gated(Penalised):
    r"""A gate says which latents are on, a second path how much they are, so that the price shrinks nothing.

    .. math:: \pi = W x + b_{gate}, \qquad m = \mathrm{ReLU}(e^{r} \odot W x + b_{mag}), \qquad z = 1[\pi > 0]\, m

    W and the gate's bias are the encoder's; r and b_mag are learned here. The cost ``l1`` is
    :math:`u \sum_n \mathrm{ReLU}(\pi_n)`, in the sizes of `Penalised`: on the gate, not on z. The gate is flat almost
    everywhere, and learns by the cost and by the auxiliary loss of `objectives.gated`, which reads ReLU(pi) as
    the evidence `Gate`.

    Args:
        latents: how many, N.

    Example:
        >>> code = Gated(3)(torch.tensor([[1.0, -2.0, 3.0]]))
        >>> code.z.tolist(), code.costs["l1"].tolist()
        ([[1.0, 0.0, 3.0]], [4.0])

    Reference:
        Rajamanoharan et al., Improving Dictionary Learning with Gated Sparse Autoencoders, 2024. arXiv:2404.16014
    """

    smooth = False  # the gate passes no gradient

    def __init__(self, latents: int) -> None:
        super().__init__(latents)
        self.log_gain = nn.Parameter(torch.zeros(latents))
        self.bias = nn.Parameter(torch.zeros(latents))

    def activate_with_evidence(
        self, pre: Tensor | LazyLinear
    ) -> tuple[Tensor, dict[str, Tensor], tuple[Evidence, ...]]:
        """The code, the price of the gate, and the gate itself."""
        if isinstance(pre, LazyLinear):
            product = replace(pre, bias=torch.zeros_like(pre.bias)).dense()
            gate = product + pre.bias
        else:
            product = gate = pre
        magnitude = (product * self.log_gain.exp() + self.bias).relu()
        gate = gate.relu()
        return magnitude * (gate > 0), {"l1": self.price(self.sizes(gate))}, (Gate(gate),)

    def activate(self, pre: Tensor | LazyLinear) -> tuple[Tensor, dict[str, Tensor]]:
        """The code and the price of the gate."""
        z, costs, _ = self.activate_with_evidence(pre)
        return z, costs

    def rescale(self, factor: Tensor) -> None:
        """The magnitudes' bias follows the pre-activations."""
        super().rescale(factor)
        self.bias.mul_(factor)

    def reset(self, rows: Tensor) -> list[nn.Parameter]:
        """The second path of some latents becomes the first again."""
        self.log_gain[rows] = 0
        self.bias[rows] = 0
        return [*super().reset(rows), self.log_gain, self.bias]
