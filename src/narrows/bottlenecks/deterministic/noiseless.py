"""A deterministic code with a Gaussian prior."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.distributions import Independent, Normal

from narrows.bottlenecks.deterministic.identity import Identity
from narrows.bottlenecks.gaussian.diagonal import Diagonal
from narrows.core import NO_CONDITION, Code, Condition, Tree
from narrows.core.check import number, refuse, whole

__all__ = ["Deterministic"]


class Deterministic(Identity):
    r"""z = h, with the prior N(0, sigma^2 I), which an objective matches the aggregate posterior to.

    Args:
        latent: the width of the code, Z.
        sigma: standard deviation of the prior.

    Raises:
        RequestError: `latent` below 1 or `sigma` not above 0.

    Example:
        >>> Deterministic(2, sigma=3.0).sample(4).z.shape
        torch.Size([4, 2])

    Reference:
        Tolstikhin et al., Wasserstein Auto-Encoders, 2018. arXiv:1711.01558
    """

    scale: Tensor

    def __init__(self, latent: int, sigma: float = 1.0) -> None:
        super().__init__()
        if not number("sigma", sigma) > 0:
            raise refuse("sigma", sigma, "more than 0")
        scale = torch.full((whole("latent", latent),), float(sigma))
        self.register_buffer("scale", scale, persistent=False)

    def prior(self) -> Diagonal:
        """The prior over one code, N(0, sigma^2 I)."""
        zero = torch.zeros_like(self.scale)
        return Independent(Normal(zero, self.scale, validate_args=False), 1, validate_args=False)

    def forward(self, h: Tree, samples: tuple[int, ...] = ()) -> Code:
        """Return features (B, Z) as the code; samples are copies."""
        return replace(super().forward(h, samples), p=self.prior())

    def sample(self, n: int, condition: Condition = NO_CONDITION) -> Code:
        """Draw n codes from the prior, (n, Z)."""
        p = self.prior()
        return Code(p.sample((n,)), p=p)
