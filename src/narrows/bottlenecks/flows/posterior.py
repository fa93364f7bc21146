"""A normalising flow of a diagonal Gaussian as the posterior."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Protocol

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from narrows.bottlenecks.gaussian.diagonal import Diagonal, Gaussian, normal
from narrows.bottlenecks.variational import antithetic
from narrows.core import Part, Tree

__all__ = ["Amortised", "Flow", "FlowPosterior", "Map"]


class Map(Protocol):
    """An invertible map of codes (*samples, B, Z), one for each example."""

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The image, and log |det dz'/dz|, (*samples, B)."""
        ...

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The point whose image is z, and log |det dz'/dz| of the map there."""
        ...


class Amortised(Part):
    """A flow whose parameters are functions of the encoder's outputs."""

    inputs: int
    """The number of the encoder's outputs that it reads."""

    def forward(self, h: Tensor) -> Sequence[Map]:
        """The maps for features (B, inputs), in the order in which they are applied."""
        raise NotImplementedError(f"{type(self).__name__} must define forward")


class FlowPosterior(Distribution):
    r"""The distribution of draws of a Gaussian after a sequence of maps.

    .. math:: z_K = f_K \circ \dots \circ f_1(z_0),\quad z_0 \sim q_0,\qquad
              \log q(z_K) = \log q_0(z_0) - \sum_k \log\left|\det \frac{\partial f_k}{\partial z_{k-1}}\right|

    It has no closed form of its mean. The log-density of its last draw is known from drawing it; that of other
    points is found by the inverse maps.

    Args:
        base: q_0, over (B, Z).
        maps: f_1 ... f_K.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    has_rsample = True

    def __init__(self, base: Diagonal, maps: Sequence[Map]) -> None:
        self.base, self.maps = base, tuple(maps)
        self._last: tuple[Tensor, Tensor] | None = None
        super().__init__(base.batch_shape, base.event_shape, validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        """R^Z."""
        return constraints.real_vector

    def push(self, start: Tensor) -> Tensor:
        """The images of points z_0, (*samples, B, Z)."""
        z, log_q = start, self.base.log_prob(start)
        for one in self.maps:
            z, volume = one.forward(z)
            log_q = log_q - volume
        self._last = (z, log_q)
        return z

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draws, with gradients to the Gaussian and to the maps."""
        return self.push(self.base.rsample(torch.Size(sample_shape)))

    def log_prob(self, value: Tensor) -> Tensor:
        """log q of codes (*samples, B, Z), in nats, (*samples, B)."""
        if self._last is not None and self._last[0] is value:
            return self._last[1]
        z, volumes = value, value.new_zeros(())
        for one in reversed(self.maps):
            z, volume = one.inverse(z)
            volumes = volumes + volume
        return self.base.log_prob(z) - volumes


class Flow(Gaussian):
    r"""A posterior that is a flow of a diagonal Gaussian, with the prior N(0, I), or a learned one.

    .. math:: q(z|x) = f_K \circ \dots \circ f_1 \big(N(\mu(x), \mathrm{diag}\,\sigma(x)^2)\big)

    Mean, variance and the parameters of the maps are functions of x. The cost ``kl`` is log q(z | x) - log p(z) at
    the draw; in `eval()` its mean over fixed antithetic draws of the Gaussian. In `eval()` and without samples, z
    is the image of the Gaussian's mean.

    Args:
        latent: the width of the code, Z.
        flow: the maps.
        prior: as for `Gaussian`.

    Example:
        >>> from narrows.bottlenecks.flows.planar import Planar
        >>> bottleneck = Flow(2, Planar(2, length=3))
        >>> code = bottleneck(torch.zeros(4, bottleneck.inputs), samples=(5,))
        >>> code.z.shape, code.costs["kl"].shape
        (torch.Size([5, 4, 2]), torch.Size([5, 4]))

    Reference:
        Rezende and Mohamed, Variational Inference with Normalizing Flows, 2015. arXiv:1505.05770
    """

    def __init__(self, latent: int, flow: Amortised, prior: Part | None = None) -> None:
        super().__init__(latent, prior)
        self.flow = flow
        if prior is None:
            self.register_buffer("noise", antithetic(self.latent))

    @property
    def inputs(self) -> int:
        """The number of features that it reads: mean, log-variance, and what the flow reads."""
        return 2 * self.latent + self.flow.inputs

    def posterior(self, h: Tree) -> FlowPosterior:
        """The posterior that the features (B, inputs) describe."""
        moments, rest = h.split((2 * self.latent, self.flow.inputs), -1)
        return FlowPosterior(normal(moments), self.flow(rest))

    def centre(self, q: Distribution) -> Tensor:
        """The image of the Gaussian's mean, (B, Z)."""
        assert isinstance(q, FlowPosterior)
        return q.push(q.base.mean)

    def fixed_draws(self, q: Distribution, h: Tree) -> Tensor:
        """Images of fixed antithetic draws of the Gaussian, (K, B, Z)."""
        assert isinstance(q, FlowPosterior)
        return q.push(super().fixed_draws(q.base, h))
