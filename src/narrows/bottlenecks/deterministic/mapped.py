"""A deterministic code whose prior is a learned map of Gaussian noise."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from narrows.bottlenecks.deterministic.identity import Identity
from narrows.core import NO_CONDITION, Code, Condition
from narrows.core.check import whole

__all__ = ["Mapped"]


class Mapped(Identity):
    r"""w = h; draws of the prior are w = F(e), e ~ N(0, I).

    Args:
        latent: the width of the code, Z.
        mapping: F, a net (B, Z) -> (B, Z).

    Raises:
        RequestError: `latent` is not an integer of at least 1.

    Example:
        >>> Mapped(2, nn.Linear(2, 2)).sample(3).z.shape
        torch.Size([3, 2])

    Reference:
        Pidhorskyi et al., Adversarial Latent Autoencoders, 2020. arXiv:2004.04467
    """

    place: Tensor

    def __init__(self, latent: int, mapping: nn.Module) -> None:
        super().__init__()
        self.latent, self.mapping = whole("latent", latent), mapping
        self.register_buffer("place", torch.zeros(()), persistent=False)  # device and type of the draws

    def sample(self, n: int, condition: Condition = NO_CONDITION) -> Code:
        """Draw n codes from the prior, (n, Z)."""
        return Code(cast(Tensor, self.mapping(torch.randn_like(self.place.expand(n, self.latent)))))
