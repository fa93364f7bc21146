"""A code in hyperbolic space: wrapped normal distributions in the Poincaré ball."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution, Normal, constraints

from narrows.bottlenecks.gaussian.diagonal import LOG_VARIANCE
from narrows.bottlenecks.manifold import ball, maps
from narrows.bottlenecks.variational import Variational, antithetic
from narrows.core import Code, Surface, Tree
from narrows.core.check import number, refuse, whole
from narrows.kernels.sinh import log_sinhc

__all__ = ["Poincare", "WrappedNormal"]


class WrappedNormal(Distribution):
    r"""The end of a geodesic from mu along a Gaussian tangent vector, in the Poincaré ball of curvature -c.

    .. math:: z = \exp_\mu(v / \lambda_\mu),\; v \sim N(0, \mathrm{diag}\, \sigma^2),\qquad
              \log p(z) = \log N(v; 0, \mathrm{diag}\, \sigma^2) -
              (Z - 1) \log \frac{\sinh(\sqrt{c}\, |v|)}{\sqrt{c}\, |v|}

    with respect to the volume of hyperbolic space; lambda is the factor by which lengths in it exceed those in R^Z,
    so that the length of v is the distance of z from mu.

    The log-density of its last draw is known from drawing it. Near the edge of the ball, where points are rounded to
    each other, it is the larger one of that and of the density at the rounded point.

    Args:
        centre: mu, points of the ball, (..., Z).
        scale: sigma, (..., Z).
        c: minus the curvature.

    Reference:
        Mathieu, Le Lan, Maddison, Tomioka, Teh, Continuous Hierarchical Representations with Poincaré Variational
        Auto-Encoders, 2019. arXiv:1901.06033
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    has_rsample = True

    def __init__(self, centre: Tensor, scale: Tensor, c: float) -> None:
        self.centre, self.scale, self.c = centre, scale, c
        self._last: tuple[Tensor, Tensor] | None = None
        super().__init__(centre.shape[:-1], centre.shape[-1:], validate_args=False)

    def at(self, noise: Tensor) -> Tensor:
        """The points that standard normal vectors (..., Z) lead to."""
        v = self.scale * noise
        z = ball.exponential(self.centre, v, self.c)
        self._last = (z, v)
        return z

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draw points, (*samples, ..., Z)."""
        shape = *sample_shape, *self.centre.shape
        return self.at(torch.randn(shape, dtype=self.centre.dtype, device=self.centre.device))

    def log_prob(self, value: Tensor) -> Tensor:
        """The log density at points (..., Z), computed in float64."""
        centre, wide = self.centre.double(), value.double()
        found = self._at(ball.logarithm(centre, wide, self.c), ball.distance(centre, wide, self.c))
        if self._last is not None and self._last[0] is value:
            v = self._last[1].double()
            found = torch.maximum(found, self._at(v, v.norm(dim=-1)))
        return found.to(value)

    def _at(self, v: Tensor, length: Tensor) -> Tensor:
        """The log density where tangent vectors (..., Z) of a length (...) lead to."""
        flat = Normal(0.0, self.scale.double(), validate_args=False).log_prob(v).sum(-1)
        return flat - (v.shape[-1] - 1) * log_sinhc(self.c**0.5 * length)


class Poincare(Variational):
    r"""q(z | x) and p(z) are wrapped normal distributions in the Poincaré ball.

    .. math:: q(z|x) = N_W(z; \mu, \mathrm{diag}\, \sigma^2),\quad p(z) = N_W(z; 0, s^2 I),\qquad
              \mathrm{kl} = E_q[\log q(z|x) - \log p(z)]

    The divergence has no closed form: in training it is the log-ratio at the draw, in `eval()` its mean over fixed
    antithetic draws. Features are a tangent vector at the origin, whose length is the distance of mu from it, and
    log-variances, (B, 2Z). In `eval()` and without samples, z is mu.

    Args:
        latent: the width of the code, Z.
        curvature: c; the curvature of the space is -c, and the radius of the ball 1 / sqrt(c).
        spread: the prior's standard deviation, s.

    Raises:
        RequestError: an argument out of range.

    Example:
        >>> code = Poincare(2)(torch.randn(5, 4), samples=(3,))
        >>> code.z.shape, bool((code.z.norm(dim=-1) < 1).all())
        (torch.Size([3, 5, 2]), True)

    Reference:
        Mathieu, Le Lan, Maddison, Tomioka, Teh, Continuous Hierarchical Representations with Poincaré Variational
        Auto-Encoders, 2019. arXiv:1901.06033
    """

    origin: Tensor
    noise: Tensor

    def __init__(self, latent: int, curvature: float = 1.0, spread: float = 1.0) -> None:
        super().__init__()
        self.latent = whole("latent", latent)
        for name, value in (("curvature", curvature), ("spread", spread)):
            if not number(name, value, high=100.0) > 0:
                fix = f"Try {name}=1.0." + (" For a flat space fit `vae`." if name == "curvature" else "")
                raise refuse(name, value, "more than 0 and at most 100", fix)
        self.curvature, self.spread = curvature, spread
        self.register_buffer("origin", torch.zeros(self.latent), persistent=False)
        self.register_buffer("noise", antithetic(self.latent))

    def posterior(self, h: Tree) -> WrappedNormal:
        """The posterior that the features describe."""
        tangent, log_variance = h.chunk(2, -1)
        centre = ball.inside(ball.from_origin(tangent, self.curvature), self.curvature)
        return WrappedNormal(centre, (0.5 * log_variance.clamp(*LOG_VARIANCE)).exp(), self.curvature)

    def prior(self) -> WrappedNormal:
        """The wrapped normal distribution around the origin."""
        return WrappedNormal(self.origin, torch.full_like(self.origin, self.spread), self.curvature)

    def centre(self, q: Distribution) -> Tensor:
        """The point around which the posterior lies."""
        assert isinstance(q, WrappedNormal)
        return q.centre

    def fixed_draws(self, q: Distribution, h: Tree) -> Tensor:
        """The points that fixed noise leads to, (K, B, Z)."""
        assert isinstance(q, WrappedNormal)
        return q.at(self.noise[:, None])

    def from_symbols(self, symbols: Tensor) -> Code:
        """The point of the ball nearest to a vector."""
        return Code(ball.inside(symbols, self.curvature))

    def between(self, start: Tensor, end: Tensor, t: Tensor) -> Tensor:
        """Along the geodesic, a part of a circle that is perpendicular to the edge of the ball."""
        a, b = start.double(), end.double()
        tangent = ball.logarithm(a, b, self.curvature)
        return ball.exponential(a, t * tangent, self.curvature).to(start)

    def paths(self, z: Tensor, low: Tensor, high: Tensor, steps: int) -> dict[str, Tensor]:
        """For each latent the geodesic from its smallest to its largest value, the others unchanged."""
        t = torch.linspace(0, 1, steps).to(z)[:, None]
        found = {}
        for j in range(self.latent):
            ends = z.repeat(2, 1)
            ends[:, j] = torch.stack([low[j], high[j]])
            ends = ball.inside(ends, self.curvature)
            found[f"latent {j}"] = self.between(ends[:1], ends[1:], t)
        return found

    def surface(self, z: Tensor) -> Surface | None:
        """The Poincaré disc, if there are two latents."""
        return maps.disc(z, self.curvature**-0.5) if self.latent == 2 else None
