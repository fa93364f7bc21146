"""Hamiltonian dynamics in a learned metric of the space of codes."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from narrows.bottlenecks.flows.hamiltonian import Geometry, HamiltonianAutoencoder, Orbit
from narrows.core import NO_CONDITION, Autoencoder, Batch, Part
from narrows.core.check import positive, whole
from narrows.core.reference import ModuleReference

__all__ = ["Field", "Metric", "RiemannianAutoencoder"]

_LOG = 1.0
"""The largest absolute logarithm of the diagonal of a factor L."""


class Local(NamedTuple):
    """The metric at codes (*samples, B, Z).

    Args:
        away: code minus centroid, (*samples, B, N, Z).
        near: exp of minus the squared distance over T^2, (*samples, B, N).
        factor: the Cholesky factor A of the inverse metric, (*samples, B, Z, Z).
    """

    away: Tensor
    near: Tensor
    factor: Tensor

    def velocity(self, momentum: Tensor) -> Tensor:
        """The inverse metric times a momentum."""
        return (self.factor @ (self.factor.mT @ momentum[..., None])).squeeze(-1)


class Field(NamedTuple):
    r"""A metric given by its inverse, which is large near centroids.

    .. math:: G^{-1}(z) = \sum_{i=1}^N L_i L_i^T \exp\Big(-\frac{\|z - c_i\|^2}{T^2}\Big) + \lambda I

    Args:
        centres: c_i, (N, Z).
        factors: L_i, (N, Z, Z).
        temperature: T.
        regularisation: lambda.
        iterations: fixed-point iterations of the two implicit equations of a step.
    """

    centres: Tensor
    factors: Tensor
    temperature: float
    regularisation: float
    iterations: int

    def local(self, z: Tensor) -> Local:
        """The metric at codes."""
        away = z[..., None, :] - self.centres
        near = (-away.square().sum(-1) / self.temperature**2).exp()
        inverse = torch.einsum("...n,nij,nkj->...ik", near, self.factors, self.factors)
        floor = self.regularisation * torch.eye(z.shape[-1], dtype=z.dtype, device=z.device)
        return Local(away, near, torch.linalg.cholesky(inverse + floor))

    def log_det(self, z: Tensor) -> Tensor:
        """log det of the metric G, (*samples, B)."""
        return _log_det(self.local(z).factor)

    def momentum(self, z: Tensor, gamma: Tensor) -> Tensor:
        """A draw of N(0, G(z)) from standard normal numbers."""
        upper = self.local(z).factor.mT
        found: Tensor = torch.linalg.solve_triangular(upper, gamma[..., None], upper=True)
        return found.squeeze(-1)

    def kinetic(self, z: Tensor, momentum: Tensor) -> Tensor:
        """Half of momentum' G^-1 momentum + log det G."""
        factor = self.local(z).factor
        return 0.5 * ((factor.mT @ momentum[..., None]).square().sum((-1, -2)) + _log_det(factor))

    def force(self, here: Local, momentum: Tensor) -> Tensor:
        """Minus the gradient of the kinetic energy for z, by hand: the iterations need no graph within the graph."""
        squares = torch.einsum("nij,...i->...nj", self.factors, momentum).square().sum(-1)
        metric = torch.cholesky_inverse(here.factor)
        traces = torch.einsum("...jk,nkl,njl->...n", metric, self.factors, self.factors)
        pull = here.near * (squares - traces) / self.temperature**2
        return (pull[..., None] * here.away).sum(-2)

    def step(
        self, at: Callable[[Tensor], Orbit], orbit: Orbit, momentum: Tensor, size: Tensor
    ) -> tuple[Orbit, Tensor]:
        """A step of the generalised leapfrog, whose first two equations are solved by iteration."""
        here = self.local(orbit.z)
        half = _solved(
            lambda one: momentum + 0.5 * size * (orbit.slope + self.force(here, one)),
            momentum,
            self.iterations,
        )
        velocity = here.velocity(half)
        z = _solved(
            lambda one: orbit.z + 0.5 * size * (velocity + self.local(one).velocity(half)),
            orbit.z + size * velocity,
            self.iterations,
        )
        end = at(z)
        return end, half + 0.5 * size * (end.slope + self.force(self.local(end.z), half))


def _solved(update: Callable[[Tensor], Tensor], start: Tensor, iterations: int) -> Tensor:
    """Fixed-point iterations; where a change is larger than the one before, the solution stays as it is."""
    value, change = start, torch.full_like(start[..., :1], torch.inf)
    for _ in range(iterations):
        new = update(value)
        moved = (new - value).detach().norm(dim=-1, keepdim=True)
        nearer = moved < change
        value, change = torch.where(nearer, new, value), torch.where(nearer, moved, torch.zeros_like(moved))
    return value


def _log_det(factor: Tensor) -> Tensor:
    """log det of the metric whose inverse has this Cholesky factor."""
    return -2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)


class Metric(Part):
    """The factors L_i of a metric at stored training examples, which a network makes from them.

    The diagonal of L lies between 1/e and e and the rest between -1 and 1 over the root of Z: where a metric changes
    faster, the iterations of the implicit equations diverge.

    Args:
        net: maps examples to Z (Z + 1) / 2 numbers, of the lower triangle of L.
        encoder: the encoder, whose posterior means of the examples are the centroids.
        shape: shape of one example.
        latent: Z.
        centroids: number of stored examples, N, drawn from the training data when training begins.
        temperature: T, above 0.
        regularisation: lambda, above 0.
        iterations: of each implicit equation.

    Raises:
        RequestError: an argument out of range.
    """

    examples: Tensor

    def __init__(
        self,
        net: nn.Module,
        encoder: nn.Module,
        shape: tuple[int, ...],
        latent: int,
        *,
        centroids: int,
        temperature: float,
        regularisation: float,
        iterations: int,
    ) -> None:
        super().__init__()
        for name, value in (("temperature", temperature), ("regularisation", regularisation)):
            positive(name, value, "The metric needs it to be invertible and smooth.")
        self.net, self.encoder, self.latent = net, ModuleReference(encoder), latent
        self.register_buffer("examples", torch.zeros(whole("centroids", centroids), *shape))
        self.temperature, self.regularisation = float(temperature), float(regularisation)
        self.iterations = whole("iterations", iterations)

    @torch.no_grad()
    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """Draw the stored examples from a batch."""
        x = batch.visible().x
        order = torch.randperm(len(x), device=x.device)
        chosen = order[torch.arange(len(self.examples), device=x.device) % len(x)]
        self.examples.copy_(x[chosen])

    def forward(self) -> Field:
        """The metric."""
        centres = self.encoder.module(self.examples, NO_CONDITION)[:, : self.latent]
        raw = self.net(self.examples, NO_CONDITION)
        lower, logs = raw.split((raw.shape[1] - self.latent, self.latent), -1)
        factors = torch.diag_embed((_LOG * torch.tanh(logs)).exp())
        rows, columns = torch.tril_indices(self.latent, self.latent, -1, device=raw.device)
        factors[:, rows, columns] = torch.tanh(lower) / self.latent**0.5
        return Field(centres, factors, self.temperature, self.regularisation, self.iterations)


class RiemannianAutoencoder(HamiltonianAutoencoder):
    """A Hamiltonian autoencoder with a learned metric."""

    metric: Metric

    def set_metric(self, metric: Metric) -> None:
        """Set the metric."""
        self.metric = metric

    def geometry(self) -> Geometry:
        """The learned metric."""
        field: Field = self.metric()
        return field
