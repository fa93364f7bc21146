"""A code on a compact manifold, whose posterior is a Brownian motion from a point."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints, register_kl

from narrows.bottlenecks.manifold import maps
from narrows.bottlenecks.manifold.spaces import SPACES, Space
from narrows.bottlenecks.variational import Variational
from narrows.core import Code, Surface, Tree
from narrows.core.check import choice, number, refuse, whole

__all__ = ["Brownian", "Diffusion", "Uniform"]

_LEAST = 1e-5
"""The smallest time, a standard deviation of 0.003."""
_MAPS: dict[str, Callable[[Tensor], Surface]] = {
    "circle": maps.circle,
    "sphere": maps.sphere,
    "torus": maps.torus,
    "rp2": maps.lines,
}
_EARLY = 3.0
"""Training begins near a twentieth of the largest time, sigmoid(-3)."""


class Uniform(Distribution):
    """The uniform distribution on a manifold.

    Args:
        space: the manifold.
        like: a tensor, which gives type and device.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}

    def __init__(self, space: Space, like: Tensor) -> None:
        self.space, self.like = space, like
        super().__init__(torch.Size(), torch.Size([space.latent]), validate_args=False)

    @property
    def mean(self) -> Tensor:
        """The mean code, (Z,)."""
        return self.space.middle(self.like)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draw codes, (*samples, Z)."""
        with torch.no_grad():
            return self.space.uniform(tuple(sample_shape), self.like)

    def log_prob(self, value: Tensor) -> Tensor:
        """Minus the log of the volume, at codes (..., Z)."""
        return torch.full_like(value[..., 0], -self.space.log_volume)


class Brownian(Distribution):
    """Brownian motion on a manifold from positions u for times t; its density is the heat kernel.

    Draws are random walks of some steps, whose distribution differs from the heat kernel by terms of order t^2 / S.

    Args:
        space: the manifold.
        position: u, where it begins, (B, U).
        t: (B,).
        walk: number of steps, S.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    has_rsample = True

    def __init__(self, space: Space, position: Tensor, t: Tensor, walk: int) -> None:
        self.space, self.position, self.t, self.walk = space, position, t, walk
        super().__init__(t.shape, torch.Size([space.latent]), validate_args=False)

    @property
    def mean(self) -> Tensor:
        """The mean code after Brownian motion."""
        centre, middle = self.space.code(self.position), self.space.middle(self.position)
        return middle + (centre - middle) * (-self.space.decay * self.t).exp()[..., None]

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draw codes, (*samples, B, Z)."""
        u = self.position.expand(*sample_shape, *self.position.shape)
        scale = (self.t / self.walk).sqrt()[..., None]
        for _ in range(self.walk):
            u = self.space.step(u, scale)
        return self.space.code(u)

    def log_prob(self, value: Tensor) -> Tensor:
        """The log of the heat kernel at codes (..., B, Z)."""
        return self.space.log_kernel(self.position, value, self.t).to(value)


def _kl(q: Brownian, p: Uniform) -> Tensor:
    r"""KL(q || uniform) to the first order in t."""
    d = q.space.dimension
    flat = -0.5 * d * (2 * math.pi * q.t).log() - 0.5 * d + q.space.log_volume
    return flat + 0.25 * q.space.curvature * q.t


register_kl(Brownian, Uniform)(_kl)


class Diffusion(Variational):
    r"""q(z | x) is Brownian motion on a manifold in R^Z from a point, for a time t; the prior is uniform.

    .. math:: z_{s+1} = P\big(z_s + \sqrt{t / S}\; \epsilon_s\big),\qquad
              \mathrm{kl} \approx -\tfrac d2 \log(2 \pi t) - \tfrac d2 + \log \mathrm{Vol} + \tfrac14 \mathrm{Sc}\, t

    P projects onto the manifold, of dimension d and scalar curvature Sc. The formula is the expansion for small t; at
    t = 1 it is 0.02 nats too large on the sphere. On SO(3) steps are along geodesics, and on the projective plane they
    are those of the sphere. With `samples`, the log-ratio is that of the exact heat kernel.

    In `eval()` and without samples, z is the point where the motion begins. Features are that point before it is
    projected, and a number from which t follows: (B, Z + 1).

    Args:
        manifold: ``circle`` (Z = 2), ``sphere`` (3), ``torus`` (4), ``so3`` or ``rp2`` (9, matrices).
        latent: Z, or 0.
        time: the largest t; with 0 the largest for which the formula is used, 1, and 0.4 on ``rp2``.
        walk: steps of the random walk, S.

    Raises:
        RequestError: an unknown manifold, or another option out of range.

    Example:
        >>> code = Diffusion("torus")(torch.randn(5, 5))
        >>> code.z.shape, code.z[:, :2].norm(dim=1).allclose(torch.ones(5))
        (torch.Size([5, 4]), True)

    Reference:
        Perez Rey, Menkovski, Portegies, Diffusion Variational Autoencoders, 2019. arXiv:1901.08991
    """

    like: Tensor

    def __init__(self, manifold: str = "torus", latent: int = 0, time: float = 0.0, walk: int = 10) -> None:
        super().__init__()
        self.space = SPACES[choice("manifold", manifold, tuple(SPACES))]
        self.map = _MAPS.get(manifold)
        if latent not in (0, self.space.latent):
            expected = f"{self.space.latent}, the width of a code on ``manifold={manifold!r}``"
            raise refuse("latent", latent, expected, "Leave it out.")
        most = self.space.time
        if number("time", time) and not _LEAST < time <= most:
            fix = "The formula of the KL divergence is for small times, and is negative for large ones."
            raise refuse("time", time, f"more than {_LEAST:g} and at most {most:g} on {manifold}, or 0", fix)
        self.time, self.walk = time or most, whole("walk", walk)
        self.register_buffer("like", torch.zeros(()), persistent=False)

    @property
    def latent(self) -> int:
        """The width of a code, Z."""
        return self.space.latent

    def posterior(self, h: Tree) -> Brownian:
        """The posterior that the features describe."""
        t = _LEAST + (self.time - _LEAST) * (h[..., -1] - _EARLY).sigmoid()
        return Brownian(self.space, self.space.position(h[..., :-1]), t, self.walk)

    def prior(self) -> Uniform:
        """The uniform distribution."""
        return Uniform(self.space, self.like)

    def centre(self, q: Distribution) -> Tensor:
        """Where the motion begins."""
        assert isinstance(q, Brownian)
        return self.space.code(q.position)

    def from_symbols(self, symbols: Tensor) -> Code:
        """The code of the manifold nearest to a vector."""
        return Code(self.space.nearest(symbols))

    def between(self, start: Tensor, end: Tensor, t: Tensor) -> Tensor:
        """Along a shortest geodesic."""
        return self.space.between(start, end, t)

    def paths(self, z: Tensor, low: Tensor, high: Tensor, steps: int) -> dict[str, Tensor]:
        """Full turns of each circle, or about each axis of space; both ends are the code itself."""
        return self.space.turns(z, torch.linspace(0, 2 * math.pi, steps).to(z))

    def surface(self, z: Tensor) -> Surface | None:
        """A map of the manifold, if it has one or two dimensions."""
        return None if self.map is None else self.map(z)
