"""Compact manifolds in R^Z: projections, steps of random walks, and heat kernels."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from narrows.bottlenecks.manifold import heat
from narrows.bottlenecks.manifold.directional import angle_of, great_circle, log_area, unit
from narrows.bottlenecks.manifold.projections import exponential, leading, logarithm, rotation

__all__ = ["SPACES", "Lines", "Rotations", "Space", "Spheres"]


class Space:
    """A manifold in R^Z with the metric of R^Z; a position u may have another form than its code z.

    Args:
        latent: the width of a code, Z, and of the features from which a position is made.
        dimension: of the manifold, d.
        log_volume: log of its volume.
        curvature: its scalar curvature.
        decay: the rate at which the mean code approaches that of the uniform distribution.
    """

    time = 1.0
    """The largest time at which the expansion of the KL divergence for small times is used."""

    def __init__(
        self, latent: int, dimension: int, log_volume: float, curvature: float, decay: float
    ) -> None:
        self.latent, self.dimension, self.log_volume = latent, dimension, log_volume
        self.curvature, self.decay = curvature, decay

    def position(self, h: Tensor) -> Tensor:
        """The position nearest to features (..., Z)."""
        raise NotImplementedError(f"{type(self).__name__} must define position")

    def step(self, u: Tensor, scale: Tensor) -> Tensor:
        """A random step from positions, of variance `scale` squared along each direction."""
        raise NotImplementedError(f"{type(self).__name__} must define step")

    def code(self, u: Tensor) -> Tensor:
        """The codes of positions, (..., Z)."""
        return u

    def log_kernel(self, u: Tensor, z: Tensor, t: Tensor) -> Tensor:
        """The log density at codes z after Brownian motion from u for the time t, in float64."""
        raise NotImplementedError(f"{type(self).__name__} must define log_kernel")

    def uniform(self, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """Codes that are uniformly distributed, (*shape, Z)."""
        noise = torch.randn(*shape, self.latent, dtype=like.dtype, device=like.device)
        return self.code(self.position(noise))

    def nearest(self, z: Tensor) -> Tensor:
        """The code nearest to a vector."""
        return self.code(self.position(z))

    def between(self, start: Tensor, end: Tensor, t: Tensor) -> Tensor:
        """Codes on a shortest geodesic between codes (1, Z), at shares t (S, 1) of its length."""
        raise NotImplementedError(f"{type(self).__name__} must define between")

    def turns(self, z: Tensor, angles: Tensor) -> dict[str, Tensor]:
        """A code (Z,) turned by angles (S,), (S, Z), by the name of each circle or axis."""
        raise NotImplementedError(f"{type(self).__name__} must define turns")

    def middle(self, like: Tensor) -> Tensor:
        """The mean code of the uniform distribution, (Z,)."""
        return torch.zeros(self.latent, dtype=like.dtype, device=like.device)


class Spheres(Space):
    """A product of unit spheres: the circle, the sphere, and the torus of two circles."""

    def __init__(self, count: int, dimension: int) -> None:
        self.each = (count, dimension + 1)
        curvature = count * dimension * (dimension - 1)
        volume = count * log_area(dimension + 1)
        super().__init__(count * (dimension + 1), count * dimension, volume, curvature, dimension / 2)

    def position(self, h: Tensor) -> Tensor:
        """Each block of coordinates divided by its length."""
        return unit(h.unflatten(-1, self.each)).flatten(-2)

    def step(self, u: Tensor, scale: Tensor) -> Tensor:
        """The nearest position to u plus noise in R^Z."""
        return self.position(u + scale * torch.randn_like(u))

    def log_kernel(self, u: Tensor, z: Tensor, t: Tensor) -> Tensor:
        """The sum over the spheres."""
        u, z = (x.double().unflatten(-1, self.each) for x in torch.broadcast_tensors(u, z))
        angle = angle_of(u, z)
        kernel = heat.circle if self.each[1] == 2 else heat.sphere
        return kernel(angle, t.double()[..., None].expand(angle.shape)).sum(-1)

    def between(self, start: Tensor, end: Tensor, t: Tensor) -> Tensor:
        """Along a great circle of each sphere."""
        a, b = (x.unflatten(-1, self.each) for x in (start, end))
        return great_circle(a, b, t[..., None]).flatten(-2)

    def turns(self, z: Tensor, angles: Tensor) -> dict[str, Tensor]:
        """Each circle turned, or the sphere about three axes."""
        if self.each[1] == 3:
            return {name: z @ turn.mT for name, turn in _axes(angles).items()}
        found = {}
        for i in range(self.each[0]):
            x, y = z.unflatten(-1, self.each)[i]
            moved = z.unflatten(-1, self.each).repeat(len(angles), 1, 1)
            cosine, sine = angles.cos(), angles.sin()
            moved[:, i] = torch.stack([cosine * x - sine * y, sine * x + cosine * y], -1)
            found[f"angle {i}"] = moved.flatten(-2)
        return found


class Lines(Space):
    r"""The real projective plane: lines through the origin of R^3, with codes :math:`u u^\top` in R^9.

    The metric is that of the unit sphere, of which it is half.
    """

    time = 0.4  # the expansion is negative from 0.46 on

    def __init__(self) -> None:
        super().__init__(9, 2, math.log(2 * math.pi), 2.0, 3.0)

    def position(self, h: Tensor) -> Tensor:
        """The leading eigenvector of the symmetric part of a matrix; its sign has no meaning."""
        return unit(leading(h.unflatten(-1, (3, 3))))

    def step(self, u: Tensor, scale: Tensor) -> Tensor:
        """A step on the sphere."""
        return unit(u + scale * torch.randn_like(u))

    def code(self, u: Tensor) -> Tensor:
        """The projection onto the line, (..., 9)."""
        return (u[..., :, None] * u[..., None, :]).flatten(-2)

    def log_kernel(self, u: Tensor, z: Tensor, t: Tensor) -> Tensor:
        """The sphere's at both points of the line."""
        line = leading(z.double().unflatten(-1, (3, 3)))
        u, line = torch.broadcast_tensors(u.double(), line)
        near, far = angle_of(u, line), angle_of(u, -line)
        t = t.double().expand(near.shape)
        return torch.logaddexp(heat.sphere(near, t), heat.sphere(far, t))

    def between(self, start: Tensor, end: Tensor, t: Tensor) -> Tensor:
        """Along the great circle on the side of which the lines are at most a right angle apart."""
        a, b = self.position(start), self.position(end)
        b = torch.where((a * b).sum(-1, keepdim=True) < 0, -b, b)
        return self.code(great_circle(a, b, t))

    def turns(self, z: Tensor, angles: Tensor) -> dict[str, Tensor]:
        """The line turned about three axes."""
        line = self.position(z)
        return {name: self.code(line @ turn.mT) for name, turn in _axes(angles).items()}

    def uniform(self, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """Codes of uniform points of the sphere."""
        return self.code(unit(torch.randn(*shape, 3, dtype=like.dtype, device=like.device)))

    def middle(self, like: Tensor) -> Tensor:
        """A third of the identity."""
        return torch.eye(3, dtype=like.dtype, device=like.device).flatten() / 3


class Rotations(Space):
    r"""The rotations of space, SO(3), as matrices in R^9: length is :math:`\sqrt{2}` times the angle."""

    def __init__(self) -> None:
        super().__init__(9, 3, math.log(16 * math.sqrt(2) * math.pi**2), 0.75, 0.5)

    def position(self, h: Tensor) -> Tensor:
        """The nearest rotation to a matrix."""
        return rotation(h.unflatten(-1, (3, 3))).flatten(-2)

    def step(self, u: Tensor, scale: Tensor) -> Tensor:
        """A rotation about a random axis: a step along a geodesic."""
        omega = torch.randn(*u.shape[:-1], 3, dtype=u.dtype, device=u.device) / math.sqrt(2)
        return (u.unflatten(-1, (3, 3)) @ exponential(scale * omega)).flatten(-2)

    def log_kernel(self, u: Tensor, z: Tensor, t: Tensor) -> Tensor:
        """By the angle between rotations, of which the distance in R^9 is 2 sqrt 2 sin(angle / 2)."""
        apart = (u.double() - z.double()).norm(dim=-1) / math.sqrt(8)
        angle = 2 * apart.clamp(0, 1).asin()
        return heat.rotations(angle, t.double().expand(angle.shape))

    def between(self, start: Tensor, end: Tensor, t: Tensor) -> Tensor:
        """By a rotation about one axis."""
        a, b = (x.unflatten(-1, (3, 3)) for x in (start, end))
        return (a @ exponential(t * logarithm(a.mT @ b))).flatten(-2)

    def turns(self, z: Tensor, angles: Tensor) -> dict[str, Tensor]:
        """A rotation about each axis before the rotation itself."""
        return {name: (z.unflatten(-1, (3, 3)) @ turn).flatten(-2) for name, turn in _axes(angles).items()}


SPACES: dict[str, Space] = {
    "circle": Spheres(1, 1),
    "sphere": Spheres(1, 2),
    "torus": Spheres(2, 1),
    "so3": Rotations(),
    "rp2": Lines(),
}


def _axes(angles: Tensor) -> dict[str, Tensor]:
    """The rotations about the three axes by angles (S,), (S, 3, 3)."""
    eye = torch.eye(3, dtype=angles.dtype, device=angles.device)
    return {f"turn about axis {i}": exponential(angles[:, None] * eye[i]) for i in range(3)}
