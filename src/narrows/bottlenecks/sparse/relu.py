"""ReLU latents with an L1 price: the first sparse autoencoders of language models."""

from __future__ import annotations

from torch import Tensor

from narrows.bottlenecks.sparse.penalised import Penalised
from narrows.kernels.sparse import LazyLinear

__all__ = ["ReLU"]


class ReLU(Penalised):
    r"""What is positive passes, at a price: :math:`z = \max(h, 0)`, cost ``l1`` :math:`= u \sum_n s_n`.

    How sparse the code becomes is decided by the weight of the cost. The sizes :math:`s_n` are the latents, times
    the lengths of their atoms where these are free; the unit u is the mean square of the data (see `Penalised`).

    Args:
        latents: how many latents, N.

    Example:
        >>> code = ReLU(3)(torch.tensor([[1.0, -2.0, 3.0]]))
        >>> code.z, code.costs["l1"]
        (tensor([[1., 0., 3.]]), tensor([4.]))

    Reference:
        Bricken et al., Towards Monosemanticity, 2023. Cunningham et al., Sparse Autoencoders Find Highly
        Interpretable Features in Language Models, 2023. arXiv:2309.08600
    """

    def activate(self, pre: Tensor | LazyLinear) -> tuple[Tensor, dict[str, Tensor]]:
        """The positive part, and its sum."""
        z = self.dense(pre).relu()
        return z, {"l1": self.price(self.sizes(z))}
