"""A code on the unit sphere, with the uniform distribution as its prior."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import Distribution

from narrows.bottlenecks.manifold import maps
from narrows.bottlenecks.manifold.directional import Directional, UniformSphere, great_circle, unit
from narrows.bottlenecks.manifold.power_spherical import PowerSpherical
from narrows.bottlenecks.manifold.von_mises_fisher import VonMisesFisher
from narrows.bottlenecks.variational import Variational
from narrows.core import Code, Surface, Tree
from narrows.core.check import choice, number, whole

__all__ = ["MOST", "Sphere"]

MOST = 1e4
"""The largest concentration: at 1e4 the angle between draw and direction is about 0.01 sqrt(Z) radians."""
_LOG_KAPPA = (-10.0, math.log(MOST))

_DISTRIBUTIONS: dict[str, type[Directional]] = {"power": PowerSpherical, "vmf": VonMisesFisher}


class Sphere(Variational):
    r"""q(z | x) on the unit sphere in R^Z, concentrated around a direction, with the uniform prior.

    .. math:: z \sim q(z \mid \mu, \kappa),\quad \|z\| = 1,\qquad \mathrm{kl} = \log A_{Z-1} - H(q)

    with the area A of the sphere; the KL divergence depends on kappa alone. In `eval()` and without samples, z is the
    direction mu.

    Features are the direction, before it is divided by its length, and the logarithm of kappa / Z: (B, Z + 1),
    or (B, Z) if kappa is fixed. Where kappa = Z, half of a draw's length is along the direction.

    Args:
        latent: the width of the code, Z; the sphere has one dimension less.
        distribution: ``power``, the power spherical distribution, or ``vmf``, von Mises-Fisher's.
        kappa: one concentration for all examples; learned, up to `MOST`, if 0.

    Raises:
        RequestError: a width below 2, an unknown distribution, or kappa out of range.

    Example:
        >>> code = Sphere(3)(torch.randn(5, 4), samples=(2,))
        >>> code.z.shape, bool((code.z.norm(dim=-1) - 1).abs().max() < 1e-6)
        (torch.Size([2, 5, 3]), True)

    Reference:
        Davidson, Falorsi, De Cao, Kipf, Tomczak, Hyperspherical Variational Auto-Encoders, 2018. arXiv:1804.00891
        Xu and Durrett, Spherical Latent Spaces for Stable Variational Autoencoders, 2018 (kappa fixed).
        arXiv:1808.10805
    """

    smooth = False  # gradients of draws are implicit, and draws are rejected

    like: Tensor

    def __init__(self, latent: int, distribution: str = "power", kappa: float = 0.0) -> None:
        super().__init__()
        fix = "The sphere in R^Z has Z - 1 dimensions; try latent=3."
        self.latent = whole("latent", latent, low=2, fix=fix)
        self.family = _DISTRIBUTIONS[choice("distribution", distribution, tuple(_DISTRIBUTIONS))]
        self.kappa = number("kappa", kappa, low=0, high=MOST)
        self.register_buffer("like", torch.zeros(self.latent), persistent=False)

    @property
    def width(self) -> int:
        """The number of features."""
        return self.latent + (0 if self.kappa else 1)

    def posterior(self, h: Tree) -> Distribution:
        """The posterior that the features describe."""
        direction = unit(h[..., : self.latent])
        if self.kappa:
            return self.family(direction, torch.full_like(direction[..., 0], self.kappa))
        log_kappa = math.log(self.latent) + h[..., -1]
        return self.family(direction, log_kappa.clamp(*_LOG_KAPPA).exp())

    def prior(self) -> UniformSphere:
        """The uniform distribution on the sphere."""
        return UniformSphere(self.like)

    def centre(self, q: Distribution) -> Tensor:
        """The direction: the mode, on the sphere."""
        assert isinstance(q, Directional)
        return q.direction

    def from_symbols(self, symbols: Tensor) -> Code:
        """The point of the sphere nearest to a vector."""
        return Code(unit(symbols))

    def between(self, start: Tensor, end: Tensor, t: Tensor) -> Tensor:
        """Along a great circle."""
        return great_circle(start, end, t)

    def paths(self, z: Tensor, low: Tensor, high: Tensor, steps: int) -> dict[str, Tensor]:
        """For each latent the great circle through its axis, from its smallest to its largest value."""
        t = torch.linspace(0, 1, steps).to(z)[:, None]
        ends = [(_at(z, j, low[j]), _at(z, j, high[j])) for j in range(self.latent)]
        return {f"latent {j}": self.between(start, end, t) for j, (start, end) in enumerate(ends)}

    def surface(self, z: Tensor) -> Surface | None:
        """The circle, or a map of the sphere in three dimensions."""
        drawn = {2: maps.circle, 3: maps.sphere}.get(self.latent)
        return None if drawn is None else drawn(z)


def _at(z: Tensor, latent: int, value: Tensor) -> Tensor:
    """A point of the sphere (Z,) with one coordinate at a value, the others scaled."""
    others = z.index_fill(0, torch.tensor(latent, device=z.device), 0.0)
    moved = unit(others) * (1 - value.square()).clamp_min(0).sqrt()
    moved[latent] = value
    return unit(moved)
