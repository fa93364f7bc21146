"""Posteriors by Hamiltonian dynamics in the joint density of code and data."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from narrows.bottlenecks.gaussian.diagonal import Diagonal, Gaussian, diagonal
from narrows.bottlenecks.variational import antithetic
from narrows.core import Autoencoder, Batch, Code, Likelihood, Objective, Part, Pass, dense
from narrows.core.check import choice, number, refuse, whole
from narrows.kernels.hmc import leapfrog_steps

__all__ = ["TEMPERINGS", "Dynamics", "Geometry", "HamiltonianAutoencoder", "Orbit", "Start"]

TEMPERINGS = ("free", "fixed", "none")
_COOLED = 0.9
"""The factor of the momentum after each step with which free tempering begins."""
_HEATED = 0.3
"""The initial temperature is 1 / this number to begin with, where tempering is fixed."""


class Dynamics(Part):
    r"""Leapfrog steps with learned step sizes, after each of which the momentum is multiplied by a number below 1.

    .. math:: \rho_0 = \gamma / \sqrt{\beta_0},\quad \gamma \sim N(0, I),\qquad
              \rho_k \leftarrow \sqrt{\beta_{k-1} / \beta_k}\; \rho_k,\quad \beta_K = 1

    The volume changes by :math:`\beta_0^{Z/2}`, whatever the density.

    Args:
        latent: Z.
        leapfrog: number of steps, K.
        step_size: the initial step size of each latent.
        largest: what step sizes stay below.
        tempering: ``free``, each factor learned; ``fixed``, :math:`\beta_k^{-1/2}` quadratic in k with a learned
            :math:`\beta_0`; ``none``, all 1.

    Raises:
        RequestError: an argument out of range.
    """

    def __init__(
        self,
        latent: int,
        *,
        leapfrog: int = 3,
        step_size: float = 0.1,
        largest: float = 0.5,
        tempering: str = "free",
    ) -> None:
        super().__init__()
        self.leapfrog = whole("leapfrog", leapfrog)
        share = number("step_size", step_size, low=1e-4, high=0.99 * largest) / largest
        self.largest = largest
        self.raw = nn.Parameter(torch.full((whole("latent", latent),), math.log(share / (1 - share))))
        self.tempering = choice("tempering", tempering, TEMPERINGS)
        start, count = (_COOLED, self.leapfrog) if tempering == "free" else (_HEATED, 1)
        if tempering != "none":
            self.heat = nn.Parameter(torch.full((count,), math.log(start / (1 - start))))

    @property
    def step_size(self) -> Tensor:
        """The step size of each latent, (Z,)."""
        return self.largest * torch.sigmoid(self.raw)

    def factors(self) -> tuple[Tensor, Tensor]:
        """sqrt(1 / beta_0), and the factors of the momentum after each step, (K,), whose product is its inverse."""
        if self.tempering == "free":
            cooled = torch.sigmoid(self.heat)
            return 1 / cooled.prod(), cooled
        if self.tempering == "none":
            return self.raw.new_ones(()), self.raw.new_ones(self.leapfrog)
        hot = torch.sigmoid(self.heat).rsqrt()  # of beta_0
        k = torch.arange(self.leapfrog + 1, dtype=hot.dtype, device=hot.device)
        spread = (1 - hot) * (k / self.leapfrog).square() + hot
        return spread[0], spread[1:] / spread[:-1]


class Start(Gaussian):
    """The Gaussian from which the dynamics start; features are the codes where they end."""

    pairs: Tensor

    def __init__(self, latent: int) -> None:
        super().__init__(latent)
        self.register_buffer("pairs", antithetic(2 * self.latent))

    def features(self, code: Code) -> Tensor:
        """The code, (B, Z)."""
        return dense(code.z).flatten(1)


class Orbit(NamedTuple):
    """Where orbits are: codes z, the output of the decoder, log p(x, z), and its gradient for z."""

    z: Tensor
    output: Tensor
    value: Tensor
    slope: Tensor


class Geometry(Protocol):
    r"""The metric G(z) of the space of codes, with momenta of the distribution N(0, G(z))."""

    def momentum(self, z: Tensor, gamma: Tensor) -> Tensor:
        """The momentum at a code from standard normal numbers, both (*samples, B, Z)."""
        ...

    def kinetic(self, z: Tensor, momentum: Tensor) -> Tensor:
        """-log N(momentum; 0, G(z)) up to a constant, (*samples, B)."""
        ...

    def step(
        self, at: Callable[[Tensor], Orbit], orbit: Orbit, momentum: Tensor, size: Tensor
    ) -> tuple[Orbit, Tensor]:
        """A leapfrog step, which preserves volume."""
        ...


class Flat:
    """The Euclidean metric, G = I."""

    def momentum(self, z: Tensor, gamma: Tensor) -> Tensor:
        """The numbers themselves."""
        return gamma

    def kinetic(self, z: Tensor, momentum: Tensor) -> Tensor:
        """Half the squared length."""
        return 0.5 * momentum.square().sum(-1)

    def step(
        self, at: Callable[[Tensor], Orbit], orbit: Orbit, momentum: Tensor, size: Tensor
    ) -> tuple[Orbit, Tensor]:
        """An explicit leapfrog step."""
        return leapfrog_steps(at, lambda one: one.slope, orbit, momentum, size, 1)


class HamiltonianAutoencoder(Autoencoder):
    r"""An autoencoder whose codes move by Hamiltonian dynamics, with momentum, in log p(x, z).

    .. math:: \mathrm{kl} = \log q(z_0|x) - \log p(z_K) + \tfrac12 \|\rho_K\|^2 - \tfrac12 \|\gamma\|^2

    In another metric G (`geometry`) the momenta are distributed as N(0, G(z)), and the squares become
    :math:`\rho^T G^{-1} \rho + \log\det G`.

    With it -log p(x | z_K) is the negative logarithm of an unbiased estimate of p(x). In `eval()` without samples the
    orbit starts at the mean, without momentum, and the cost is the mean over fixed antithetic draws of z_0 and gamma.

    The density of z_K alone is not known: a code has no ``q``.

    Args:
        encoder: to features of `Start`.
        start: the Gaussian of z_0 and the prior.
        decoder: decodes z_K.
        likelihood: p(x | z).
        objective: any that needs no ``q``.
        dynamics: the steps.
    """

    bottleneck: Start

    def __init__(
        self,
        encoder: nn.Module,
        start: Start,
        decoder: nn.Module,
        likelihood: Likelihood,
        objective: Objective,
        dynamics: Dynamics,
    ) -> None:
        super().__init__(encoder, start, decoder, likelihood, objective)
        self.dynamics = dynamics

    def at(self, batch: Batch, prior: Diagonal, z: Tensor) -> Orbit:
        """log p(x, z) and its gradient at codes (*samples, B, Z), differentiable unless gradients are off."""
        graph = torch.is_grad_enabled()
        with torch.enable_grad():
            z = z if graph and z.requires_grad else z.detach().requires_grad_()
            z = z.clone()  # counters of operations cannot differentiate by a leaf
            output = self.decode(z, batch.condition)
            value = prior.log_prob(z) - self.likelihood.pass_nll(Pass(batch, Code(z), output))
            (slope,) = torch.autograd.grad(value.sum(), z, create_graph=graph)
        found = Orbit(z, output, value, slope)
        return found if graph else Orbit(*(each.detach() for each in found))

    def geometry(self) -> Geometry:
        """The metric of the space of codes."""
        return Flat()

    def move(
        self, batch: Batch, code: Code, start: Tensor, gamma: Tensor, geometry: Geometry
    ) -> tuple[Orbit, Tensor]:
        """The end of orbits from codes with momenta from gamma before heating, and the momentum there."""
        assert diagonal(code.p)
        at = partial(self.at, batch, code.p)
        orbit, step = at(start), self.dynamics.step_size
        heat, factors = self.dynamics.factors()
        momentum = heat * geometry.momentum(start, gamma)
        for factor in factors:
            orbit, momentum = geometry.step(at, orbit, momentum, step)
            momentum = factor * momentum
        return orbit, momentum

    def _cost(
        self, batch: Batch, code: Code, start: Tensor, gamma: Tensor, geometry: Geometry
    ) -> tuple[Orbit, Tensor]:
        """The end of orbits, and what they cost."""
        assert code.q is not None
        assert code.p is not None
        end, rho = self.move(batch, code, start, gamma, geometry)
        before = geometry.kinetic(start, geometry.momentum(start, gamma))
        cost = code.q.log_prob(start) - code.p.log_prob(end.z) + geometry.kinetic(end.z, rho) - before
        return end, cost

    def forward(self, batch: Batch, samples: tuple[int, ...] = ()) -> Pass:
        """Encode, move the codes, and decode them where they end."""
        batch = batch.visible()
        features = self.encoder(batch.x, batch.condition)
        code = self.bottleneck(features, samples)
        geometry, q = self.geometry(), code.q
        if self.training or samples:
            end, cost = self._cost(batch, code, code.z, torch.randn_like(code.z), geometry)
        else:
            assert diagonal(q)
            end, _ = self.move(batch, code, code.z, torch.zeros_like(code.z), geometry)
            noise, gamma = self.bottleneck.pairs[:, None].expand(-1, len(batch), -1).chunk(2, -1)
            start = q.base_dist.loc + q.base_dist.scale * noise
            cost = self._cost(batch, code, start, gamma, geometry)[1].mean(0)
        moved = replace(code, z=end.z, costs={"kl": cost}, q=None)
        return Pass(batch, moved, end.output, features)

    def encode(self, batch: Batch, samples: tuple[int, ...] = ()) -> Code:
        """The codes where the orbits end."""
        return self(batch, samples).code


def refuse_targets(target: tuple[int, ...] | None) -> None:
    """Raise for data with targets, which the dynamics of a code would read.

    Raises:
        RequestError: the data have targets.
    """
    if target is not None:
        raise refuse(
            "target", target, "left out: codes move towards what they decode", "Use `vae` or `flow-vae`."
        )
