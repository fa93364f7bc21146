"""A codebook that is a learned linear map of fixed random vectors."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from narrows.bottlenecks.discrete.codebooks.base import Codebook

__all__ = ["LinearCodebook"]


class LinearCodebook(Codebook):
    r"""Codes that are a learned linear map of fixed random vectors.

    .. math:: e_k = W c_k + b,\qquad c_k \sim N(0, I / d) \text{ fixed}

    A gradient of any code moves W, and with it all codes, so that those that no token is assigned to follow
    the others. Lookup, `vectors` and `codebook` are of e, not of c.

    Args:
        codes: the number of codes, K.
        width: of a code, d.
        bias: learn b, as the authors' code does; without, b is 0, as in the paper's equation.

    Raises:
        RequestError: a size that is not an integer of at least 1.

    Example:
        >>> book = LinearCodebook(16, 4)
        >>> [name for name, _ in book.named_parameters()], book.codebook.shape
        (['linear.weight', 'linear.bias'], torch.Size([16, 4]))

    Reference:
        Zhu et al., Addressing Representation Collapse in Vector Quantized Models with One Linear Layer, 2024,
        section 4. arXiv:2411.02038
    """

    basis: Tensor

    def __init__(self, codes: int, width: int, *, bias: bool = True) -> None:
        super().__init__(codes, width)
        self.register_buffer("basis", torch.randn(self.codes, self.width) * self.width**-0.5)
        self.linear = nn.Linear(self.width, self.width, bias=bias)

    @property
    def codebook(self) -> Tensor:
        """The code vectors e, (K, d)."""
        found: Tensor = self.linear(self.basis)
        return found
