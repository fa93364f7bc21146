"""Distributions on the unit sphere that are symmetric about a direction, and the uniform one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints, register_kl

__all__ = ["Directional", "UniformSphere", "angle_of", "great_circle", "log_area", "unit"]

_TINY = 1e-30
"""Below squared sines that occur, so that the gradient of their root is finite at 0."""


def log_area(width: int) -> float:
    r"""log of the area of the unit sphere in R^Z, :math:`2 \pi^{Z/2} / \Gamma(Z/2)`.

    Example:
        >>> round(math.exp(log_area(2)) / math.pi, 6), round(math.exp(log_area(3)) / math.pi, 6)
        (2.0, 4.0)
    """
    return math.log(2) + 0.5 * width * math.log(math.pi) - math.lgamma(0.5 * width)


def unit(x: Tensor) -> Tensor:
    """Vectors (..., Z) divided by their length; the first axis in place of zeros.

    Example:
        >>> unit(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
        tensor([[0.6000, 0.8000],
                [1.0000, 0.0000]])
    """
    length = x.norm(dim=-1, keepdim=True)
    first = torch.zeros_like(x[..., :1]).add(1)
    axis = torch.cat([first, torch.zeros_like(x[..., 1:])], -1)
    return torch.where(length > 0, x / length.clamp_min(torch.finfo(x.dtype).tiny), axis)


def angle_of(a: Tensor, b: Tensor) -> Tensor:
    """The angle between unit vectors (..., Z) in radians, (...), exact where they coincide or are opposite."""
    return 2 * torch.atan2((a - b).norm(dim=-1), (a + b).norm(dim=-1))


def great_circle(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    r"""Points of the shortest arc between unit vectors (..., Z), at shares t (..., 1) of its length.

    .. math:: \cos(t \theta)\, a + \sin(t \theta)\, \frac{b - \langle a, b\rangle a}{\sin\theta},\quad
              \cos\theta = \langle a, b\rangle

    Between opposite points there are many; one of them is taken.

    Example:
        >>> x, y = torch.eye(2)
        >>> great_circle(x, y, torch.tensor([[1 / 3]]))
        tensor([[0.8660, 0.5000]])
    """
    a, b = torch.broadcast_tensors(a, b)
    aside = b - (a * b).sum(-1, keepdim=True) * a
    axis = torch.zeros_like(a).scatter(-1, a.abs().argmin(-1, keepdim=True), 1.0)
    other = axis - (a * axis).sum(-1, keepdim=True) * a
    opposite = aside.norm(dim=-1, keepdim=True) < torch.finfo(a.dtype).eps
    turn = t * angle_of(a, b)[..., None]
    return unit(turn.cos() * a + turn.sin() * unit(torch.where(opposite, other, aside)))


class UniformSphere(Distribution):
    """The uniform distribution on the unit sphere in R^Z.

    Args:
        like: a tensor (Z,), which gives width, type and device.

    Example:
        >>> UniformSphere(torch.zeros(3)).log_prob(torch.eye(3)).exp() * 4 * math.pi
        tensor([1.0000, 1.0000, 1.0000])
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}

    def __init__(self, like: Tensor) -> None:
        self.like = like
        super().__init__(torch.Size(), like.shape, validate_args=False)

    @property
    def mean(self) -> Tensor:
        """Zero, (Z,)."""
        return torch.zeros_like(self.like)

    @property
    def variance(self) -> Tensor:
        """1 / Z of each coordinate."""
        return torch.full_like(self.like, 1 / len(self.like))

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draw points, (*samples, Z)."""
        shape = *sample_shape, len(self.like)
        return unit(torch.randn(shape, dtype=self.like.dtype, device=self.like.device))

    def log_prob(self, value: Tensor) -> Tensor:
        """Minus the log of the sphere's area, at points (..., Z)."""
        return torch.full_like(value[..., 0], -log_area(len(self.like)))


class Directional(Distribution):
    r"""A distribution of z on the unit sphere in R^Z whose density depends on t = mu' z alone.

    .. math:: z = t \mu + \sqrt{1 - t^2}\, v,\quad v \text{ uniform among unit vectors orthogonal to } \mu

    Subclasses define the density and draws of t. Everything that depends on kappa alone is computed in float64,
    since it is a difference of large numbers.

    Args:
        direction: mu, unit vectors (B, Z).
        concentration: kappa, (B,), from 0 (uniform) upwards.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    has_rsample = True

    def __init__(self, direction: Tensor, concentration: Tensor) -> None:
        self.direction, self.concentration = direction, concentration
        self.kappa, self.width = concentration.double(), direction.shape[-1]
        super().__init__(direction.shape[:-1], direction.shape[-1:], validate_args=False)

    def versine(self, samples: tuple[int, ...]) -> Tensor:
        """Draws of (1 - t) / 2, which is exact near 0, with gradients to kappa, (*samples, B) in float64."""
        raise NotImplementedError(f"{type(self).__name__} must define versine")

    def log_density(self, cosine: Tensor) -> Tensor:
        """The log density of z at t = mu' z, (*samples, B) in float64."""
        raise NotImplementedError(f"{type(self).__name__} must define log_density")

    def moments(self) -> tuple[Tensor, Tensor]:
        """E[t] and E[t^2], (B,) in float64."""
        raise NotImplementedError(f"{type(self).__name__} must define moments")

    def negentropy(self) -> Tensor:
        """E[log q(z)], (B,) in float64."""
        raise NotImplementedError(f"{type(self).__name__} must define negentropy")

    @property
    def mean(self) -> Tensor:
        """E[t] mu, inside the sphere."""
        return self.moments()[0].to(self.direction)[..., None] * self.direction

    @property
    def variance(self) -> Tensor:
        """The variance of each coordinate."""
        first, second = (moment.to(self.direction)[..., None] for moment in self.moments())
        along = self.direction.square()
        return second * along + (1 - second) / (self.width - 1) * (1 - along) - first.square() * along

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draw z, (*samples, B, Z)."""
        drawn = self.versine(tuple(sample_shape))
        sine = 2 * (drawn * (1 - drawn)).clamp_min(_TINY).sqrt()
        cosine, sine = ((x.to(self.direction))[..., None] for x in (1 - 2 * drawn, sine))
        noise = torch.randn(*sample_shape, *self.direction.shape, dtype=sine.dtype, device=sine.device)
        across = noise - (noise * self.direction).sum(-1, keepdim=True) * self.direction
        return cosine * self.direction + sine * unit(across)

    def log_prob(self, value: Tensor) -> Tensor:
        """The log density at points (..., B, Z) with respect to the area."""
        cosine = (value * self.direction).sum(-1).double()
        return self.log_density(cosine.clamp(-1, 1)).to(value)


def _kl(q: Directional, p: UniformSphere) -> Tensor:
    """KL(q || uniform), in closed form: minus the entropy of q plus the log of the area."""
    return (q.negentropy() + log_area(q.width)).to(q.direction)


register_kl(Directional, UniformSphere)(_kl)
