"""Flow matching: a velocity field from noise to codes, along straight lines."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from narrows.core import NO_CONDITION, Condition, Symbols
from narrows.core.check import choice, number, whole
from narrows.diffusion.ode import SOLVERS, solve
from narrows.diffusion.paths import Linear
from narrows.priors.couplings import COUPLINGS, gibbs_weights, transported
from narrows.priors.denoising import DenoisingPrior, interval

__all__ = ["FlowMatching"]

_EXACT = 64
"""Largest dimension for which the divergence is exact; above it is estimated."""
_PROBES = 8
"""Number of random directions of the estimate."""
_NLL_STEPS = 32


class FlowMatching(DenoisingPrior):
    r"""A prior for real-valued codes, defined by a velocity field between noise and codes.

    .. math:: z_t = (1 - t) z + t \epsilon,\qquad
              \min_v E_{z, \epsilon, t} \|v(z_t, t) - (\epsilon - z)\|^2,\qquad
              \frac{dz_t}{dt} = v(z_t, t)

    At t = 0 there are codes, at t = 1 noise from N(0, I). Codes are standardised, by channel in a grid and number
    by number in a vector, with the mean and the deviation of those seen when training begins; `sample` and `nll`
    are in the codes' own scale. The net learns what v is beyond that of N(0, I), so that before training the
    prior is a Gaussian with mean and standard deviation of the codes.

    -log p follows from the divergence along the path, with t going from 0 to 1:

    .. math:: \log p(z) = \log N(z_1; 0, I) + \int_0^1 \nabla \cdot v(z_t, t) \, dt

    It is summed exactly for codes of up to 64 numbers, and for wider ones estimated with 8 fixed random directions.

    Noise and codes are drawn independently, or coupled, so that paths cross less and fewer steps suffice (`couplings`):
    ``ot`` exchanges the noise of a batch, within a class where the prior is told labels, so that the sum of squared
    distances is smallest; ``gibbs`` weights the loss of each pair by exp(-||z - e|| / eps).

    Args:
        coupling: ``independent``, ``ot`` or ``gibbs``.
        eps: of the weights of ``gibbs``, in units of the standardised codes. The smaller it is, the straighter are the
            paths, and the more are codes far from their mean neglected.
        draws: where codes have a Gaussian posterior, learn from draws of it, which is what the decoder was trained on;
            else from its mean.
        elementwise: standardise each number of tokens and arrays, not each channel.
        times: the law of t in training: ``uniform``, ``logit-normal`` or ``lognormal``, where log(t / (1 - t)) is
            N(-1.2, 1.2^2).
        shift: above 1, times in training are moved towards noise, t to s t / (1 + (s - 1) t).

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

    probes: Tensor

    def __init__(
        self,
        symbols: Symbols,
        *,
        classes: int = 0,
        coupling: str = "independent",
        eps: float = 1.0,
        times: str = "uniform",
        shift: float = 1.0,
        draws: bool = True,
        elementwise: bool = False,
        labels: bool = False,
        width: int = 128,
        depth: int = 3,
        heads: int = 4,
        net: str = "auto",
    ) -> None:
        super().__init__(
            symbols,
            path=Linear(),
            prediction="v",
            times=times,
            shift=shift,
            classes=classes,
            draws=draws,
            elementwise=elementwise,
            labels=labels,
            width=width,
            depth=depth,
            heads=heads,
            net=net,
        )
        self.coupling = choice("coupling", coupling, COUPLINGS)
        self.eps = number("eps", eps, low=1e-6)
        probes = torch.eye(self.size)
        if (
            self.size > _EXACT
        ):  # on the CPU: the directions are the same everywhere, whatever the default device
            dice = torch.Generator("cpu").manual_seed(0)
            probes = torch.randn(_PROBES, self.size, generator=dice, device="cpu").sign() / math.sqrt(_PROBES)
        self.register_buffer("probes", probes, persistent=False)

    def error(self, z: Tensor, noise: Tensor, t: Tensor, labels: Tensor | None) -> Tensor:
        """The squared error of the velocity at standardised codes (n, *shape), with the coupling."""
        if self.coupling == "ot":
            noise = transported(z, noise, labels)
        error = super().error(z, noise, t, labels)
        if self.coupling == "gibbs":
            error = error * gibbs_weights(z, noise, self.eps).view(-1, *[1] * (z.dim() - 1))
        return error

    def nll(self, symbols: Tensor, condition: Condition = NO_CONDITION) -> Tensor:
        """-log p of codes (n, *shape), in nats, (n,): by 32 steps of Heun's method."""
        labels = self.known(condition, len(symbols))
        z = self.standard(symbols.flatten(1))

        def change(state: Tensor, t: Tensor) -> Tensor:
            v, divergence = self._divergence(state[:, :-1], t, labels)
            return torch.cat([v, divergence[:, None]], 1)

        end = solve(change, torch.cat([z, z.new_zeros(len(z), 1)], 1), _NLL_STEPS, start=0.0, end=1.0)
        noise, gained = end[:, :-1], end[:, -1]
        normal = -0.5 * (noise.square() + math.log(2 * math.pi)).sum(1)
        return self.scale.log().sum() - normal - gained

    @torch.no_grad()
    def sample(
        self,
        n: int,
        condition: Condition = NO_CONDITION,
        *,
        steps: int = 20,
        sampler: str = "heun",
        guidance: float = 1.0,
        guidance_interval: str = "0/1",
    ) -> Tensor:
        """n codes (n, *shape), in their own scale. `narrows.priors.SAMPLING` explains guidance.

        Args:
            n: how many.
            condition: their ``labels``, one-hot (n, G). A prior that is told labels draws them if none are given.
            steps: steps of the solver, T.
            sampler: the solver: ``euler`` or ``ab2`` (one evaluation of the net a step), ``heun`` (two) or ``rk4``
                (four).
        """
        choice("sampler", sampler, tuple(SOLVERS))
        labels, within = self.asked(condition, n, guidance, self.shift.device), interval(guidance_interval)

        def velocity(x: Tensor, t: Tensor) -> Tensor:
            norm, plain, scale = self._units(self.path.level(t))
            return plain * x + scale * self.guided(norm * x, t, labels, guidance, within)

        z = solve(velocity, self.noise(n), whole("steps", steps), solver=sampler)
        return self.own(z.flatten(1))

    def _divergence(self, state: Tensor, t: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        """v at flat states (n, Z), and its divergence (n,)."""
        with torch.enable_grad():
            x = state.detach().requires_grad_(True)
            v = self.predict(x.view(-1, *self.symbols.shape), t.view(1), labels).flatten(1)
            along = [
                (torch.autograd.grad(v, x, probe.expand_as(v), retain_graph=True)[0] * probe).sum(1)
                for probe in self.probes
            ]
        return v.detach(), torch.stack(along).sum(0)
