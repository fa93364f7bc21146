"""A deterministic code whose prior is a shape that can be sampled."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from narrows.bottlenecks.deterministic.identity import Identity
from narrows.core import NO_CONDITION, Code, Condition
from narrows.core.check import choice, whole

__all__ = ["SHAPES", "Shaped"]

SHAPES = ("normal", "ring", "square")
_INNER = 0.5
"""The inner radius of a ring, whose outer radius is 1."""


class Shaped(Identity):
    r"""z = h, with a prior that has draws but need have no density.

    - ``normal``: N(0, I).
    - ``ring``: uniform between the spheres with radius 1/2 and 1.
    - ``square``: uniform on the cube from -1 to 1.

    Args:
        latent: the width of the code, Z.
        shape: the prior.

    Raises:
        RequestError: `latent` below 1, or an unknown prior.

    Example:
        >>> radius = Shaped(2, "ring").sample(100).z.norm(dim=1)
        >>> bool((radius >= 0.5).all() and (radius <= 1).all())
        True

    Reference:
        Kolouri et al., Sliced-Wasserstein Autoencoder, 2018. arXiv:1804.01947
    """

    place: Tensor

    def __init__(self, latent: int, shape: str = "normal") -> None:
        super().__init__()
        self.latent, self.shape = whole("latent", latent), choice("shape", shape, SHAPES)
        self.register_buffer("place", torch.zeros(()), persistent=False)  # device and type of the draws

    def sample(self, n: int, condition: Condition = NO_CONDITION) -> Code:
        """Draw n codes from the prior, (n, Z)."""
        like = self.place.expand(n, self.latent)
        if self.shape == "square":
            return Code(2 * torch.rand_like(like) - 1)
        z = torch.randn_like(like)
        if self.shape == "ring":
            inner = _INNER**self.latent
            radius = (inner + (1 - inner) * torch.rand_like(like[:, :1])) ** (1 / self.latent)
            z = radius * normalize(z, dim=1)
        return Code(z)
