"""A deterministic code whose prior is a shape that can be sampled."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import normalize

from narrows.bottlenecks.deterministic.identity import Identity
from narrows.core import NO_CONDITION, Code, Condition
from narrows.core.check import choice, refuse, whole

__all__ = ["SHAPES", "Shaped"]

SHAPES = ("normal", "ring", "square", "gaussians", "swiss-roll")
_INNER = 0.5
"""The inner radius of a ring, whose outer radius is 1."""
_PETALS, _RADIUS, _ALONG, _ACROSS = 10, 1.4, 0.5, 0.1
"""Of ``gaussians``: number, radius of the circle of centres, standard deviations along its radius and across."""
_TURNS, _OUTER = 1.5, 3.0
"""Of ``swiss-roll``: the turns of the spiral, and its outer radius."""


class Shaped(Identity):
    r"""z = h, with a prior that has draws but need have no density.

    - ``normal``: N(0, I).
    - ``ring``: uniform between the spheres with radius 1/2 and 1.
    - ``square``: uniform on the cube from -1 to 1.
    - ``gaussians``: of each pair of latents a mixture of ten Gaussians, whose centres lie on a circle of radius 1.4,
      with standard deviations 0.5 along its radius and 0.1 across.
    - ``swiss-roll``: of each pair of latents a spiral of 1.5 turns, uniform in its squared radius, up to 3.

    Args:
        latent: the width of the code, Z.
        shape: the prior.

    Raises:
        RequestError: `latent` below 1, an unknown prior, or an odd `latent` with a prior of pairs.

    Example:
        >>> radius = Shaped(2, "ring").sample(100).z.norm(dim=1)
        >>> bool((radius >= 0.5).all() and (radius <= 1).all())
        True

    Reference:
        Kolouri et al., Sliced-Wasserstein Autoencoder, 2018. arXiv:1804.01947. Makhzani et al., Adversarial
        Autoencoders, 2016, section 2.2 (the priors of pairs). arXiv:1511.05644
    """

    place: Tensor

    def __init__(self, latent: int, shape: str = "normal") -> None:
        super().__init__()
        self.latent, self.shape = whole("latent", latent), choice("shape", shape, SHAPES)
        if shape in ("gaussians", "swiss-roll") and self.latent % 2:
            raise refuse("latent", latent, f"an even number, as ``{shape}`` is a prior of pairs of latents")
        self.register_buffer("place", torch.zeros(()), persistent=False)  # device and type of the draws

    def sample(self, n: int, condition: Condition = NO_CONDITION) -> Code:
        """Draw n codes from the prior, (n, Z)."""
        like = self.place.expand(n, self.latent)
        if self.shape == "square":
            return Code(2 * torch.rand_like(like) - 1)
        if self.shape in ("gaussians", "swiss-roll"):
            pairs = like.unflatten(1, (-1, 2))
            drawn = _gaussians(pairs) if self.shape == "gaussians" else _swiss_roll(pairs)
            return Code(drawn.flatten(1))
        z = torch.randn_like(like)
        if self.shape == "ring":
            inner = _INNER**self.latent
            radius = (inner + (1 - inner) * torch.rand_like(like[:, :1])) ** (1 / self.latent)
            z = radius * normalize(z, dim=1)
        return Code(z)


def _gaussians(like: Tensor) -> Tensor:
    """Draws of the mixture of Gaussians on a circle, of the shape of `like` (..., 2)."""
    noise, which = torch.randn_like(like), (_PETALS * torch.rand_like(like[..., 0])).floor()
    angle = 2 * math.pi / _PETALS * which
    along, across = _RADIUS + _ALONG * noise[..., 0], _ACROSS * noise[..., 1]
    cos, sin = angle.cos(), angle.sin()
    return torch.stack([along * cos - across * sin, along * sin + across * cos], -1)


def _swiss_roll(like: Tensor) -> Tensor:
    """Draws of the spiral, of the shape of `like` (..., 2)."""
    share = torch.rand_like(like[..., 0]).sqrt()
    angle = 2 * math.pi * _TURNS * share
    return _OUTER * share.unsqueeze(-1) * torch.stack([angle.cos(), angle.sin()], -1)
