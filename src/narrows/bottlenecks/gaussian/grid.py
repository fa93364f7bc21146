"""A diagonal Gaussian posterior over the tokens of a grid."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution

from narrows.bottlenecks.gaussian.diagonal import Gaussian, normal
from narrows.core import Code, Tree
from narrows.core.check import whole

__all__ = ["GridGaussian"]


class GridGaussian(Gaussian):
    r"""q(z | x) = N(mu(x), diag sigma(x)^2) for features of L tokens, with the prior N(0, I).

    The code is a vector of L C numbers, token by token; the symbols of a second stage are the tokens (L, C).

    Args:
        tokens: number of tokens, L.
        width: numbers of a token, C.

    Raises:
        RequestError: a size that is not an integer of at least 1.

    Example:
        >>> bottleneck = GridGaussian(9, 4)
        >>> code = bottleneck(torch.zeros(3, 9, 8))
        >>> code.z.shape, bottleneck.to_symbols(code).shape
        (torch.Size([3, 36]), torch.Size([3, 9, 4]))

    Reference:
        Rombach et al., High-Resolution Image Synthesis with Latent Diffusion Models, 2021, appendix G.
        arXiv:2112.10752
    """

    def __init__(self, tokens: int, width: int) -> None:
        self.grid = (whole("tokens", tokens), whole("width", width))
        super().__init__(tokens * width)

    def posterior(self, h: Tree) -> Distribution:
        """The posterior that the features (B, L, 2C) describe: of each token the mean, then the log-variance."""
        return normal(torch.cat([part.flatten(-2) for part in h.chunk(2, -1)], -1))

    def to_symbols(self, code: Code) -> Tensor:
        """The tokens, (B, L, C)."""
        z: Tensor = code.z
        return z.unflatten(-1, self.grid)

    def from_symbols(self, symbols: Tensor) -> Code:
        """The code (B, L C) of tokens (B, L, C)."""
        return Code(symbols.flatten(-2))
