"""A stationary AR(1) process along the code: independent posteriors have a least divergence from it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal, constraints
from torch.distributions.kl import register_kl

from narrows.core import Part
from narrows.core.check import number, refuse, whole

__all__ = ["Stationary", "StationaryPrior", "correlation", "least_rate"]

_NEAREST = 1e-5
"""Least distance of a correlation from 1, where single precision still tells neighbours apart."""


def least_rate(a: float, positions: int) -> float:
    r"""The least KL divergence of independent posteriors of one channel from the process, in nats.

    .. math:: \delta = \frac12 \left( (n - 2) \log(1 + a^2) - \log(1 - a^2) \right)

    Args:
        a: correlation of neighbours, from 0 to 1.
        positions: n, at least 2.

    Example:
        >>> round(least_rate(0.9, 10), 4)
        3.2037
    """
    return 0.5 * ((positions - 2) * math.log1p(a * a) - math.log1p(-a * a))


def correlation(rate: float, positions: int) -> float:
    """The correlation with which a channel has a least rate, by bisection.

    Raises:
        RequestError: `rate` is not above 0.

    Example:
        >>> round(least_rate(correlation(1.5, 8), 8), 6)
        1.5
    """
    if not number("rate", rate) > 0:
        raise refuse("rate", rate, "a number of nats above 0")
    low, high = 0.0, 1.0
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if least_rate(min(middle, 1 - 1e-16), positions) < rate else (low, middle)
    return low


class Stationary(Distribution):
    r"""n positions of C channels, each channel an AR(1) process with variance 1, as one event (n C,).

    .. math:: z_1 \sim N(0, I),\qquad z_t = a z_{t-1} + \sqrt{1 - a^2}\, \epsilon_t

    Args:
        a: correlation of neighbours of every channel, (C,), below 1.
        positions: n.

    Example:
        >>> Stationary(torch.tensor([0.9, 0.5]), 3).sample((4,)).shape
        torch.Size([4, 6])
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}

    def __init__(self, a: Tensor, positions: int) -> None:
        self.a, self.positions = a, positions
        event = torch.Size([positions * len(a)])
        super().__init__(torch.Size(), event, validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        """R^Z."""
        return constraints.real_vector

    @property
    def mean(self) -> Tensor:
        """0."""
        return self.a.new_zeros(self.event_shape)

    @property
    def variance(self) -> Tensor:
        """1."""
        return self.a.new_ones(self.event_shape)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draw codes, position after position."""
        noise = torch.randn(
            *sample_shape, self.positions, len(self.a), dtype=self.a.dtype, device=self.a.device
        )
        z, spread = [noise[..., 0, :]], (1 - self.a.square()).sqrt()
        for t in range(1, self.positions):
            z.append(self.a * z[-1] + spread * noise[..., t, :])
        return torch.stack(z, -2).flatten(-2)

    def log_prob(self, value: Tensor) -> Tensor:
        """log p, the first position and the steps between neighbours."""
        z = value.unflatten(-1, (self.positions, len(self.a)))
        variance = 1 - self.a.square()
        steps = (z[..., 1:, :] - self.a * z[..., :-1, :]).square() / variance
        squares = z[..., 0, :].square().sum(-1) + steps.sum((-2, -1))
        logs = (self.positions - 1) * variance.log().sum() + value.shape[-1] * math.log(2 * math.pi)
        return -0.5 * (squares + logs)


def _divergence(q: Independent[Normal], p: Stationary) -> Tensor:
    """The closed form for a diagonal Gaussian: log p is quadratic with a tridiagonal matrix."""
    if not isinstance(q.base_dist, Normal):
        raise NotImplementedError
    mean, variance = q.base_dist.loc, q.base_dist.scale.square()
    at_mean: Tensor = p.log_prob(mean)
    a2 = p.a.square()
    precision = ((1 + a2) / (1 - a2)).expand(p.positions, -1).clone()
    ends = 1 / (1 - a2)
    precision[0], precision[-1] = (ends, ends) if p.positions > 1 else (torch.ones_like(a2),) * 2
    spread = 0.5 * (variance * precision.flatten()).sum(-1)
    entropy: Tensor = q.entropy()
    return spread - at_mean - entropy


register_kl(Independent, Stationary)(_divergence)


class StationaryPrior(Part):
    r"""The AR(1) prior with which each channel of a code has at least a given rate.

    Posteriors whose positions are independent differ from it by at least delta nats, whatever the data, so
    that the rate cannot fall to zero. A code of width Z is n positions of Z / n channels.

    Args:
        latent: the width of the code, Z.
        positions: n, a divisor of Z, at least 2.
        rate: delta of each channel in nats, above 0.

    Raises:
        RequestError: an argument out of range.

    Example:
        >>> prior = StationaryPrior(8, positions=4, rate=0.5)
        >>> round(least_rate(float(prior().a[0]), 4), 4)
        0.5

    Reference:
        Razavi, van den Oord, Poole, Vinyals, Preventing Posterior Collapse with delta-VAEs, 2019.
        arXiv:1901.03416
    """

    a: Tensor

    def __init__(self, latent: int, positions: int, rate: float) -> None:
        super().__init__()
        latent, self.positions = whole("latent", latent), whole("positions", positions, low=2)
        if latent % positions:
            raise refuse(
                "positions", positions, f"a divisor of the width of the code, {latent}", "Change one of them."
            )
        found = correlation(rate, positions)
        if 1 - found < _NEAREST:
            most = least_rate(1 - _NEAREST, positions)
            raise refuse("rate", rate, f"at most {most:.3g} nats of a channel", "Use more positions.")
        a = torch.full((latent // positions,), found)
        self.register_buffer("a", a, persistent=False)

    def forward(self) -> Stationary:
        """The process over one code."""
        return Stationary(self.a, self.positions)
