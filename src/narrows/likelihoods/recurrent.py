r"""p(x | noise) of series by a recurrent network: the output of a step is input to the next.

The network is the generative model of a variational recurrent network. Given the state h of a step, the prior of the
latent is Gaussian, the output has a likelihood given the latent and h, and both are inputs of the next state. A latent
is parametrised by its *noise* u = (z - mean) / deviation, so that u from N(0, I) is always a draw from the prior.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from narrows.core import Completion, Likelihood, Pass
from narrows.core.check import whole
from narrows.core.evidence import Evidence
from narrows.nets.mlp import dense_layers
from narrows.nets.sequence import Clock, Steps

__all__ = ["Path", "Recurrence", "Recurrent", "Step", "Trajectory", "WithSteps", "softplus_gaussian"]

_SMALLEST = 1e-3
"""The least standard deviation of a latent."""


def softplus_gaussian(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of a diagonal Gaussian, (..., 2Z) -> (..., Z) each, the deviation by softplus.

    Example:
        >>> softplus_gaussian(torch.tensor([1.0, 0.0]))[1].round(decimals=4)
        tensor([0.6941])
    """
    mean, raw = features.chunk(2, -1)
    return mean, F.softplus(raw) + _SMALLEST


class WithSteps(nn.Module):
    """The decoder of a recurrent likelihood: codes (*samples, B, T, Z), concatenated with the step features.

    Example:
        >>> WithSteps(3)(torch.zeros(2, 5, 4)).shape
        torch.Size([2, 5, 9])
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = whole("channels", channels)

    def forward(self, z: Tensor, condition: Mapping[str, Tensor] | None = None) -> Tensor:
        """Concatenate z, the mask of observed numbers, the mask of steps and their time gaps."""
        empty = z.new_zeros(z.shape[-3], z.shape[-2], self.channels)
        steps = Steps.of(condition or {}, empty)
        features = torch.cat(
            [steps.observed.to(z), steps.mask.unsqueeze(-1).to(z), steps.passed.unsqueeze(-1)], -1
        )
        return torch.cat([z, features.expand(*z.shape[:-1], -1)], -1)


class Step(NamedTuple):
    """The context of a step for all networks, (..., context), and the prior of its latent, (..., Z)."""

    context: Tensor
    mean: Tensor
    scale: Tensor


class Path(NamedTuple):
    """The trajectory over all steps.

    Args:
        context: the context of each step, (*lead, T, context).
        z: the latents, (*lead, T, Z).
        x: the input of each step, (*lead, T, C): observed values, and generated ones elsewhere.
    """

    context: Tensor
    z: Tensor
    x: Tensor


@dataclass(frozen=True)
class Trajectory(Evidence):
    """The states of the generative network during inference of a code.

    Args:
        path: the states, not detached, so that `Recurrent.pass_nll` need not recompute them.
    """

    path: Path


class Recurrence(nn.Module):
    r"""The generative network of a variational recurrent network.

    .. math:: z_t \sim N(\mu(h_{t-1}), \mathrm{diag}\,\sigma^2(h_{t-1})),\quad x_t \sim p(x_t \mid z_t, h_{t-1}),\quad
              h_t = \mathrm{GRU}(h_{t-1}, [\varphi_x(x_t), \varphi_z(z_t)])

    With times, every network also has the gap before the step as input. With `holes`, a missing value is input as 0
    with its mask; otherwise it is replaced by the mean of the emission.

    Args:
        latent: width of z at a step, Z.
        emission: p(x_t | z_t, h), the likelihood of one step (C,).
        width: width of the state and of the hidden layers.
        holes: whether the training data have missing values.
        timed: whether the training data have times.
    """

    def __init__(
        self, latent: int, emission: Likelihood, *, width: int = 64, holes: bool = False, timed: bool = False
    ) -> None:
        super().__init__()
        self.latent, self.width, self.holes = whole("latent", latent), whole("width", width), holes
        self.emission, self.clock = emission, Clock() if timed else None
        self.context = width + timed
        self.read_x = dense_layers((emission.shape[0] * (1 + holes), width, width))
        self.read_z = dense_layers((latent, width, width))
        self.prior = dense_layers((self.context, width, 2 * latent))
        self.output = dense_layers((width + self.context, width, emission.parameter_shape[0]))
        self.cell = nn.GRUCell(2 * width + timed, width)
        self.first = nn.Parameter(torch.zeros(width))

    def start(self, lead: tuple[int, ...]) -> Tensor:
        """The state before the first step, (*lead, width)."""
        return self.first + self.first.new_zeros(*lead, self.first.shape[-1])

    def step(self, state: Tensor, passed: Tensor) -> Step:
        """The context and prior of a step, from the state (..., B, width) and the scaled gap (B,) of `Clock`."""
        context = state
        if self.clock is not None:
            context = torch.cat([state, passed[:, None].expand(*state.shape[:-1], 1)], -1)
        return Step(context, *softplus_gaussian(self.prior(context)))

    def emit(self, z: Tensor, context: Tensor) -> Tensor:
        """The emission's parameters for latents (..., Z)."""
        out: Tensor = self.output(torch.cat([self.read_z(z), context], -1))
        return out

    def embed(self, x: Tensor, observed: Tensor) -> Tensor:
        """The embedding of values (..., C) with a mask of the observed ones."""
        seen = torch.where(observed, x, 0.0)
        out: Tensor = self.read_x(
            torch.cat([seen, observed.to(x).expand(seen.shape)], -1) if self.holes else seen
        )
        return out

    def advance(self, state: Tensor, step: Step, z: Tensor, read: Tensor) -> Tensor:
        """The next state (..., width), from the latents and the embedded values of this step."""
        inputs = torch.cat([read.expand(*state.shape), self.read_z(z), step.context[..., self.width :]], -1)
        after: Tensor = self.cell(inputs.flatten(0, -2), state.flatten(0, -2))
        return after.reshape(state.shape)

    def unroll(
        self,
        choose: Callable[[int, Step], Tensor],
        steps: Steps,
        lead: tuple[int, ...],
        x: Tensor | None = None,
        fill: Callable[[Tensor], Tensor] | None = None,
        forecast: Tensor | None = None,
        prefix: Path | None = None,
    ) -> Path:
        """Unroll the network over all steps.

        Args:
            choose: maps t and the context of the step to its latents, (*lead, Z).
            steps: masks and time gaps of the steps.
            lead: the leading axes, (*samples, B).
            x: the observed values, (B, T, C); None generates all of them.
            fill: maps the emission's parameters to values that replace missing ones. If None, missing values are
                input as such with `holes`, and otherwise replaced by the mean of the emission.
            forecast: mask of the steps whose input is a draw from the emission, (B, T).
            prefix: the path without `forecast`, which is reused up to the first of these steps.
        """
        if x is not None and fill is None and not self.holes:
            complete = steps.observed | ~steps.mask.unsqueeze(-1)
            fill = None if bool(complete.all()) else self.emission.mean
        ready = None if x is None or fill is not None else self.embed(x, steps.observed)
        begin = 0 if prefix is None or forecast is None else int(forecast.any(0).int().argmax())
        state = self.start(lead) if prefix is None else prefix.context[..., begin, : self.width]
        path = [] if prefix is None else [tuple(part[..., t, :] for part in prefix) for t in range(begin)]
        passed = steps.passed if self.clock is None else self.clock(steps.passed).to(state)
        full = bool(steps.mask.all())
        for t in range(begin, steps.mask.shape[1]):
            step = self.step(state, passed[:, t])
            z = choose(t, step)
            if ready is not None:
                value, read = x[:, t], ready[:, t]  # type: ignore[index]
            else:
                assert fill is not None  # without x all values are generated
                value = fill(self.emit(z, step.context))
                if x is not None:
                    value = torch.where(steps.observed[:, t], x[:, t], value)
                read = self.embed(value, torch.ones_like(value, dtype=torch.bool))
            if forecast is not None and bool(forecast[:, t].any()):
                drawn, here = self.emission.sample(self.emit(z, step.context)), forecast[:, t, None]
                value = torch.where(here, drawn, value)
                read = torch.where(here, self.embed(drawn, torch.ones_like(drawn, dtype=torch.bool)), read)
            path.append((step.context, z, value.expand(*lead, -1)))
            after = self.advance(state, step, z, read)
            state = after if full else torch.where(steps.mask[:, t, None], after, state)
        return Path(*(torch.stack(each, -2) for each in zip(*path, strict=True)))


class Recurrent(Likelihood):
    r"""p(x | u) of series given the noise of their latents, autoregressive over steps.

    .. math:: -\log p(x \mid u) = -\sum_t \log p(x_t \mid z_t, h_{t-1}),\quad z_t = \mu(h_{t-1}) + \sigma(h_{t-1})\, u_t

    The parameters are the output of `WithSteps`, (*samples, B, T, Z + C + 2). `nll` uses the true values of earlier
    steps (teacher forcing); `mean` and `sample` use their own values (free-running). With u from N(0, I), `sample`
    draws from the model exactly.

    Args:
        shape: (T, C) of the longest series.
        core: the generative network, shared with the bottleneck.

    Example:
        >>> from narrows.likelihoods import Gaussian
        >>> p = Recurrent((5, 3), Recurrence(2, Gaussian((3,)), width=8))
        >>> p.mean(WithSteps(3)(torch.zeros(4, 5, 2))).shape
        torch.Size([4, 5, 3])

    Reference:
        Chung et al., A Recurrent Latent Variable Model for Sequential Data, 2015, section 3. arXiv:1506.02216
    """

    any_length = True
    autoregressive = True

    def __init__(self, shape: tuple[int, ...], core: Recurrence) -> None:
        super().__init__(shape)
        self.core = core

    @property
    def parameter_shape(self) -> tuple[int, ...]:
        """The shape of the parameters of one example."""
        return (self.shape[0], self.core.latent + self.shape[1] + 2)

    def nll(self, parameters: Tensor, x: Tensor, weight: Tensor | None = None) -> Tensor:
        """-log p(x | u) in nats, (*samples, B), over the observed values."""
        u, steps = self._unpacked(parameters)
        x = torch.where(steps.observed, x, 0.0)
        path = self.core.unroll(_by_noise(u), steps, u.shape[:-2], x)
        return self._along(path, x, steps.observed if weight is None else weight)

    def pass_nll(self, passed: Pass) -> Tensor:
        """`nll` of a forward pass, reusing the states of the inference if the code has them."""
        inferred = passed.code.find(Trajectory)
        if inferred is None:
            return super().pass_nll(passed)
        return self._along(inferred.path, passed.batch.target, passed.weight)

    def _along(self, path: Path, x: Tensor, weight: Tensor | None) -> Tensor:
        """The nll of series along a path, (*samples, B)."""
        return self.core.emission.nll(self.core.emit(path.z, path.context), x, weight).sum(-1)

    def teacher_forced(self, passed: Pass) -> Tensor:
        """E[x_t | z_t, h_{t-1}] after the true values of earlier steps, (*samples, B, T, C)."""
        path = self._path(passed)
        mean: Tensor = self.core.emission.mean(self.core.emit(path.z, path.context))
        return mean

    def _path(self, passed: Pass) -> Path:
        """The states along the true values, those of the inference if the code has them."""
        inferred = passed.code.find(Trajectory)
        if inferred is not None:
            return inferred.path
        u, steps = self._unpacked(passed.output)
        return self.core.unroll(
            _by_noise(u), steps, u.shape[:-2], torch.where(steps.observed, passed.batch.target, 0.0)
        )

    def mean(self, parameters: Tensor) -> Tensor:
        """The mean of each step given the means of earlier steps, (*samples, B, T, C)."""
        return self._generate(parameters, self.core.emission.mean)

    def sample(self, parameters: Tensor) -> Tensor:
        """A sample of each step given the samples of earlier steps, (*samples, B, T, C)."""
        return self._generate(parameters, self.core.emission.sample)

    def complete(self, passed: Pass) -> Completion:
        """Missing values of series (B, T, C), and of steps after the last observation.

        A missing value is input as in `nll`, so that the importance weights are valid. Steps after the last
        observation are drawn one after the other, as in `sample`, since no observation depends on them; each draw
        has its own latents there, however few codes the weights leave.
        """
        u, steps = self._unpacked(passed.output)
        x, emission = torch.where(steps.observed, passed.batch.target, 0.0), self.core.emission
        left = steps.observed.any(-1).flip(1).cumsum(1).flip(1)  # steps with an observation, from each on
        forecast = (left == 0) & steps.mask
        path = self._path(passed)
        nll = self._along(path, x, steps.observed if passed.weight is None else passed.weight)
        if bool(forecast.any()):
            path = self.core.unroll(_by_noise(u), steps, u.shape[:-2], x, forecast=forecast, prefix=path)
        made = self.core.emit(path.z, path.context)
        mean = emission.mean(made)

        def draw(codes: Tensor) -> Tensor:
            rows = codes, torch.arange(len(x), device=codes.device)
            drawn = emission.sample(made[rows])
            if bool(forecast.any()):
                fresh = torch.where(forecast.unsqueeze(-1), torch.randn_like(u[rows]), u[rows])
                before = Path(*(part[rows] for part in path))
                ahead = self.core.unroll(
                    _by_noise(fresh), steps, codes.shape, x, forecast=forecast, prefix=before
                )
                drawn = torch.where(forecast.unsqueeze(-1), ahead.x, drawn)
            return torch.where(steps.observed, x, drawn)

        return Completion(
            nll,
            lambda weights: torch.where(steps.observed, x, (weights[..., None, None] * mean).sum(0)),
            draw,
        )

    def _generate(self, parameters: Tensor, fill: Callable[[Tensor], Tensor]) -> Tensor:
        u, steps = self._unpacked(parameters)
        return self.core.unroll(_by_noise(u), steps, u.shape[:-2], None, fill).x

    def _unpacked(self, parameters: Tensor) -> tuple[Tensor, Steps]:
        """The noise, and the steps, which are the same for all samples."""
        u, observed, mask, passed = parameters.split([self.core.latent, self.shape[1], 1, 1], -1)
        first = (0,) * (parameters.dim() - 3)
        return u, Steps(observed[first] > 0.5, mask[first].squeeze(-1) > 0.5, passed[first].squeeze(-1))


def _by_noise(u: Tensor) -> Callable[[int, Step], Tensor]:
    """The latents for noise (*lead, T, Z)."""
    return lambda t, step: step.mean + step.scale * u[..., t, :]
