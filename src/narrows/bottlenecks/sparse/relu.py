"""ReLU latents with an L1 penalty: the first sparse autoencoders of language models."""

from __future__ import annotations

from torch import Tensor

from narrows.bottlenecks.sparse.penalised import Penalised
from narrows.core import Sparse
from narrows.kernels.sparse import LazyLinear

__all__ = ["ReLU"]


class ReLU(Penalised):
    r"""ReLU latents with a penalty: :math:`z = \max(h, 0)`, cost ``l1`` :math:`= u \sum_n s_n`.

    The weight of the cost controls the sparsity. The sizes :math:`s_n` are the latents, times the norms of
    their atoms if these are not normalised; the unit u is the mean square of the data (see `Penalised`).

    Args:
        latents: number of latents, N.

    Example:
        >>> code = ReLU(3)(torch.tensor([[1.0, -2.0, 3.0]]))
        >>> code.z, code.costs["l1"]
        (tensor([[1., 0., 3.]]), tensor([4.]))

    Reference:
        Bricken et al., Towards Monosemanticity, 2023. Cunningham et al., Sparse Autoencoders Find Highly
        Interpretable Features in Language Models, 2023. arXiv:2309.08600
    """

    def activate(self, pre: Tensor | LazyLinear) -> tuple[Sparse | Tensor, dict[str, Tensor]]:
        """The positive part, and its sum."""
        h, at = self.candidates(pre, self.floor())
        z = h.relu()
        return self.code(z, at), {"l1": self.price(self.sizes(z, at))}
