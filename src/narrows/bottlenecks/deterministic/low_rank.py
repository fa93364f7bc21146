"""A code that linear maps without nonlinearity bring to few directions."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from narrows.bottlenecks.deterministic.identity import Identity
from narrows.core import Code, Tree
from narrows.core.check import whole

__all__ = ["LowRank"]


class LowRank(Identity):
    r"""z = M h with M a product of square matrices, whose rank falls in training.

    .. math:: z = M h,\qquad M = M_F \cdots M_1

    With a single factor, an objective penalises the nuclear norm of M; with several, gradient descent by itself prefers
    products of low rank. The matrices begin at random values, as a linear layer's: from zero there is no gradient.

    Args:
        latent: the width of the code, Z.
        factors: number of matrices, F.

    Raises:
        RequestError: an argument below 1.

    Example:
        >>> LowRank(4, factors=3)(torch.ones(2, 4)).z.shape
        torch.Size([2, 4])

    Reference:
        Mounayer et al., Learning Low-Rank Latent Spaces with Simple Deterministic Autoencoder, 2023. arXiv:2310.16194.
        Jing, Zbontar and LeCun, Implicit Rank-Minimizing Autoencoder, 2020. arXiv:2010.00679
    """

    def __init__(self, latent: int, factors: int = 1) -> None:
        super().__init__()
        side = 1 / math.sqrt(whole("latent", latent))
        matrices = torch.empty(whole("factors", factors), latent, latent).uniform_(-side, side)
        self.matrices = nn.ParameterList(list(matrices))

    def matrix(self) -> Tensor:
        """M, (Z, Z)."""
        product: Tensor = self.matrices[0]
        for factor in list(self.matrices)[1:]:
            product = factor @ product
        return product

    def forward(self, h: Tree, samples: tuple[int, ...] = ()) -> Code:
        """Map features (B, Z)."""
        return super().forward(h @ self.matrix().T, samples)
