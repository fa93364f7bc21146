"""Flow matching: a velocity field from noise to codes, along straight lines."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from narrows.core import NO_CONDITION, Autoencoder, Batch, Condition, Loss, Pass, Symbols
from narrows.core.check import choice, whole
from narrows.nets.denoiser import TokenDenoiser, VectorDenoiser
from narrows.priors.drawn import DrawnCodes
from narrows.priors.labels import LabelledPrior, guided, labels_of
from narrows.priors.samplers.ode import SOLVERS, solve

__all__ = ["FlowMatching", "gaussian_velocity"]

_EXACT = 64
"""Largest dimension for which the divergence is exact; above it is estimated."""
_PROBES = 8
"""Number of random directions of the estimate."""
_NLL_STEPS = 32
_LEAST = 1e-6
"""Smallest standard deviation of a coordinate."""


def gaussian_velocity(t: Tensor) -> Tensor:
    r"""The velocity of a code that is itself N(0, I), over the state: a scalar for each time.

    .. math:: E[\epsilon - z \mid z_t] = \frac{2t - 1}{t^2 + (1 - t)^2} \, z_t

    Example:
        >>> gaussian_velocity(torch.tensor([0.0, 0.5, 1.0]))
        tensor([-1.,  0.,  1.])
    """
    return (2 * t - 1) / (t.square() + (1 - t).square())


class FlowMatching(DrawnCodes, LabelledPrior):
    r"""A prior for real-valued codes, defined by a velocity field between noise and codes.

    .. math:: z_t = (1 - t) z + t \epsilon,\qquad
              \min_v E_{z, \epsilon, t} \|v(z_t, t) - (\epsilon - z)\|^2,\qquad
              \frac{dz_t}{dt} = v(z_t, t)

    At t = 0 there are codes, at t = 1 noise from N(0, I). Codes are standardised, by channel in a grid and number
    by number in a vector, with the mean and the deviation of those seen when training begins; `sample` and `nll`
    are in the codes' own scale. The net learns what v is beyond `gaussian_velocity`, so that before training the
    prior is a Gaussian with mean and standard deviation of the codes.

    -log p follows from the divergence along the path, with t going from 0 to 1:

    .. math:: \log p(z) = \log N(z_1; 0, I) + \int_0^1 \nabla \cdot v(z_t, t) \, dt

    It is summed exactly for codes of up to 64 numbers, and for wider ones estimated with 8 fixed random directions.

    Args:
        draws: where codes have a Gaussian posterior, learn from draws of it, which is what the decoder was trained on;
            else from its mean.

    Raises:
        RequestError: the symbols are indices, or an option is out of range.

    Example:
        >>> prior = FlowMatching(Symbols((4,)), width=8, depth=1)
        >>> prior.sample(2, steps=5).shape, prior.nll(torch.zeros(3, 4)).shape
        (torch.Size([2, 4]), torch.Size([3]))

    Reference:
        Lipman et al., Flow Matching for Generative Modeling, 2022. arXiv:2210.02747. Liu, Gong, Liu, Flow Straight
        and Fast, 2022. arXiv:2209.03003. On codes: Dao et al., Flow Matching in Latent Space, 2023. arXiv:2307.08698
    """

    shift: Tensor
    scale: Tensor
    probes: Tensor

    reads = ("vector", "tokens", "array")

    def __init__(
        self,
        symbols: Symbols,
        *,
        classes: int = 0,
        draws: bool = True,
        labels: bool = False,
        width: int = 128,
        depth: int = 3,
        heads: int = 4,
    ) -> None:
        super().__init__(symbols, classes, labels)
        self.draws = draws
        size = math.prod(symbols.shape)
        # Numbers of another shape than a vector's or tokens' are taken for one vector.
        self.shape = symbols.shape if symbols.kind == "tokens" else (size,)
        self.net: nn.Module
        if len(self.shape) == 2:
            self.net = TokenDenoiser(
                *self.shape, width=width, depth=depth, heads=heads, condition=self.classes
            )
        else:
            self.net = VectorDenoiser(size, width=width, depth=depth, condition=self.classes)
        self.register_buffer("shift", torch.zeros(self.shape[-1]))
        self.register_buffer("scale", torch.ones(self.shape[-1]))
        probes = torch.eye(size)
        if size > _EXACT:  # on the CPU: the directions are the same everywhere, whatever the default device
            dice = torch.Generator("cpu").manual_seed(0)
            probes = torch.randn(_PROBES, size, generator=dice, device="cpu").sign() / math.sqrt(_PROBES)
        self.register_buffer("probes", probes, persistent=False)

    @torch.no_grad()
    def prepare(self, model: Autoencoder, batch: Batch) -> None:
        """Compute mean and standard deviation of codes."""
        rows = self.drawn(batch).view(-1, *self.shape).flatten(0, -2)
        self.shift.copy_(rows.mean(0))
        self.scale.copy_(rows.std(0, correction=0).clamp_min(_LEAST))

    def velocity(self, x: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        """v at standardised states (n, *shape) and times (n,)."""
        base = gaussian_velocity(t).view(-1, *[1] * (x.dim() - 1))
        return base * x + self.net(x, t, labels)

    def loss(self, batch: Batch, step: int = 0, passed: Pass | None = None) -> Loss:
        """The mean squared error of the velocity, a number of the code; times are spread evenly over the batch."""
        z = (self.drawn(batch).view(-1, *self.shape) - self.shift) / self.scale
        labels = self.told(batch.condition, len(z))
        t, noise = self.times_and_noise(z)
        share = t.view(-1, *[1] * (z.dim() - 1))
        v = self.velocity((1 - share) * z + share * noise, t, labels)
        error = (v - (noise - z)).square().mean()
        return Loss(error, {"velocity": error.detach()})

    def times_and_noise(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """What is drawn in training for standardised codes (n, *shape): times (n,) and noise like the codes."""
        t = (torch.rand(1, device=z.device) + torch.arange(len(z), device=z.device) / len(z)) % 1
        return t.to(z.dtype), torch.randn_like(z)

    def nll(self, symbols: Tensor, condition: Condition = NO_CONDITION) -> Tensor:
        """-log p of codes (n, *shape), in nats, (n,): by 32 steps of Heun's method."""
        labels = labels_of(condition, len(symbols), self.classes)
        z = ((symbols.view(-1, *self.shape) - self.shift) / self.scale).flatten(1)

        def change(state: Tensor, t: Tensor) -> Tensor:
            v, divergence = self._divergence(state[:, :-1], t, labels)
            return torch.cat([v, divergence[:, None]], 1)

        end = solve(change, torch.cat([z, z.new_zeros(len(z), 1)], 1), _NLL_STEPS, start=0.0, end=1.0)
        noise, gained = end[:, :-1], end[:, -1]
        normal = -0.5 * (noise.square() + math.log(2 * math.pi)).sum(1)
        spread = self.scale.log().sum() * (z.shape[1] // len(self.scale))
        return spread - normal - gained

    @torch.no_grad()
    def sample(
        self,
        n: int,
        condition: Condition = NO_CONDITION,
        *,
        steps: int = 20,
        sampler: str = "heun",
        guidance: float = 1.0,
    ) -> Tensor:
        """n codes (n, *shape), in their own scale. `narrows.priors.SAMPLING` explains guidance.

        Args:
            n: how many.
            condition: their ``labels``, one-hot (n, G); drawn evenly where the prior is told labels and none are given.
            steps: steps of the solver, T.
            sampler: the solver: ``euler`` (one evaluation of the net a step), ``heun`` (two) or ``rk4`` (four).
        """
        choice("sampler", sampler, tuple(SOLVERS))
        labels = self.asked(condition, n, guidance, self.shift.device)

        def velocity(x: Tensor, t: Tensor) -> Tensor:
            both = x if guidance == 1 else torch.cat([x, x])
            return guided(self.velocity(both, t.expand(len(both)), labels), guidance)

        noise = torch.randn(n, *self.shape, dtype=self.shift.dtype, device=self.shift.device)
        z = self.shift + self.scale * solve(velocity, noise, whole("steps", steps), solver=sampler)
        return z.view(n, *self.symbols.shape)

    def _divergence(self, state: Tensor, t: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        """v at flat states (n, Z), and its divergence (n,)."""
        with torch.enable_grad():
            x = state.detach().requires_grad_(True)
            v = self.velocity(x.view(-1, *self.shape), t.expand(len(x)), labels).flatten(1)
            along = [
                (torch.autograd.grad(v, x, probe.expand_as(v), retain_graph=True)[0] * probe).sum(1)
                for probe in self.probes
            ]
        return v.detach(), torch.stack(along).sum(0)
