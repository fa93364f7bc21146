r"""Annealed importance sampling of log p(x), from the prior to the posterior by Hamiltonian Monte Carlo.

The distributions in between are

.. math:: f_t(z) \propto p(z)\, p(x \mid z)^t, \qquad 0 = t_0 < \dots < t_T = 1

Run forward, log p(x) is underestimated on average; run backward from an exact draw of the posterior, which there is
where x was drawn from the model, it is overestimated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from narrows.audit.metrics.importance import Importance
from narrows.core import Autoencoder, Batch, Code, Pass, evaluation_mode, seeded
from narrows.core.check import RequestError, refuse, whole
from narrows.kernels.hmc import JITTER, propose

__all__ = ["Annealed", "annealed", "bracket", "simulate", "temperatures_of"]

Advance = Callable[[int], None]

_LEAPFROG = 2
"""Steps of one proposal: at equal cost, more temperatures help more than longer proposals."""

_ACCEPTED = 0.65
"""The share of accepted proposals to which step sizes are steered."""

_PILOT = 5
"""The run that finds the step sizes has this many times fewer temperatures."""

_STEER = 0.7
"""The change of a step size's logarithm for a difference of 1 in the share of accepted proposals."""


@dataclass(frozen=True)
class Annealed:
    """The result for B examples.

    Args:
        weights: of K chains for each example.
        accepted: the share of accepted proposals of each example, (B,).
    """

    weights: Importance
    accepted: Tensor


@dataclass(frozen=True)
class _State:
    """K chains for each of B examples: positions, both log densities there, (K, B), and their gradients."""

    z: Tensor
    prior: Tensor
    likelihood: Tensor
    prior_slope: Tensor
    likelihood_slope: Tensor

    def slope(self, t: float) -> Tensor:
        """The gradient of log f_t."""
        return self.prior_slope + t * self.likelihood_slope

    def log_density(self, t: float) -> Tensor:
        """log f_t but for its constant."""
        return self.prior + t * self.likelihood

    def where(self, moved: Tensor, other: _State) -> _State:
        """The other's chains where `moved`, (K, B)."""
        pick: Callable[[str], Tensor] = lambda name: torch.where(  # noqa: E731
            _wide(moved, getattr(other, name)), getattr(other, name), getattr(self, name)
        )
        return _State(*(pick(name) for name in vars(self)))


class _Target:
    """The prior and the likelihood of a model for a batch of examples, as functions of the code."""

    def __init__(self, model: Autoencoder, batch: Batch) -> None:
        self.model, self.batch = model, batch.visible()
        code = model.encode(batch)
        self.code, self.prior = code, _prior_of(model, code)

    def draws(self, chains: int) -> Tensor:
        """Draws of the prior, (K, B, ...)."""
        lead = (chains,) if self.prior.batch_shape else (chains, len(self.batch))
        return self.prior.sample(lead)

    def at(self, z: Tensor) -> _State:
        """Densities and gradients at codes (K, B, ...)."""
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            prior = self.prior.log_prob(z)
            output = self.model.decode(z, self.batch.condition)
            passed = Pass(self.batch, replace(self.code, z=z), output)
            likelihood = -self.model.likelihood.pass_nll(passed)
            first, second = (torch.autograd.grad(value.sum(), z)[0] for value in (prior, likelihood))
        return _State(z.detach(), prior.detach(), likelihood.detach(), first, second)


def _prior_of(model: Autoencoder, code: Code) -> Distribution:
    """The prior of a code, over R^Z.

    Raises:
        RequestError: the code has none, or is not a single point of R^Z.
    """
    advice = "Use ``estimator='iwae'`` instead."
    if code.rate is None or code.p is None or not isinstance(code.z, Tensor):
        raise RequestError(
            "Annealed importance sampling needs a prior with a density over the whole code, and this model has none."
            + (f" {advice}" if code.rate is not None else " Fit a method with a posterior, such as `vae`.")
        )
    prior, lead = code.p, len(code.z)
    shape = (*prior.batch_shape, *prior.event_shape)
    whole_code = tuple(code.z.shape) in (shape, (lead, *shape)) and len(prior.batch_shape) <= 1
    levels = [name for name in code.costs if name.startswith("kl/")]
    if not whole_code or levels:
        raise RequestError(
            f"Annealed importance sampling needs one prior over the whole code, and this code has several levels. "
            f"{advice}"
        )
    if not _is_real(prior):
        raise RequestError(
            f"Annealed importance sampling moves codes freely in R^Z, and the prior of this model "
            f"(`{type(prior).__name__}`) is on another space. {advice}"
        )
    return prior


def _is_real(prior: Distribution) -> bool:
    try:
        support: Any = prior.support
    except NotImplementedError:  # the distribution does not say
        return False
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    return support is constraints.real or support == constraints.real_vector


def temperatures_of(count: int) -> Tensor:
    r"""The temperatures t_0 = 0 to t_T = 1, (T + 1,), dense near both ends.

    .. math:: t_k = \frac{\sigma(\delta (2 k / T - 1)) - \sigma(-\delta)}{\sigma(\delta) - \sigma(-\delta)}, \quad
              \delta = 4

    Example:
        >>> temperatures_of(2)
        tensor([0.0000, 0.5000, 1.0000], dtype=torch.float64)

    Reference:
        Wu, Burda, Salakhutdinov, Grosse, On the Quantitative Analysis of Decoder-Based Generative Models, 2017.
        arXiv:1611.04273
    """
    steps = torch.linspace(-4, 4, whole("temperatures", count, low=2) + 1, dtype=torch.double).sigmoid()
    return (steps - steps[0]) / (steps[-1] - steps[0])


def annealed(
    model: Autoencoder,
    batch: Batch,
    *,
    chains: int = 4,
    temperatures: int = 500,
    seed: int = 0,
    advance: Advance = lambda done: None,
) -> Annealed:
    r"""log p(x) by annealed importance sampling: on average too low, the less so the more temperatures there are.

    .. math:: \log w = \sum_{k=1}^{T} (t_k - t_{k-1}) \log p(x \mid z_{k-1}), \qquad z_0 \sim p(z),
              \quad z_k \sim \mathrm{HMC}_{f_{t_k}}(z_{k-1})

    A first run with a fifth of the temperatures steers the step size of each example and temperature to an acceptance
    of 0.65; in the second they are fixed, so that the mean of w is p(x) exactly.

    Args:
        model: its code must have a prior with a density over R^Z; its mode is restored afterwards.
        batch: B examples.
        chains: K, of each example.
        temperatures: T.
        seed: of all draws.
        advance: called with the finished transitions, of `transitions(temperatures)`.

    Raises:
        RequestError: the model has no such prior.

    Reference:
        Neal, Annealed Importance Sampling, 2001. arXiv:physics/9803008
    """
    whole("chains", chains)
    with evaluation_mode(model), seeded(seed):
        target = _Target(model, batch)
        steps = _pilot(target, chains, temperatures, advance)
        start = target.at(target.draws(chains))
        return _run(target, start, temperatures_of(temperatures), steps, advance, temperatures // _PILOT)


def transitions(temperatures: int, both: bool = False) -> int:
    """The number of transitions that `annealed` makes, or `bracket` if both directions are run."""
    return temperatures // _PILOT + temperatures * (2 if both else 1)


def bracket(
    model: Autoencoder,
    batch: Batch,
    codes: Tensor,
    *,
    chains: int = 4,
    temperatures: int = 500,
    seed: int = 0,
    advance: Advance = lambda done: None,
) -> tuple[Annealed, Annealed]:
    """Bounds of log p(x) from below and from above, on average, for examples that were drawn from the model.

    Args:
        model: as for `annealed`.
        batch: B examples, drawn from p(x | z) at `codes`.
        codes: drawn from the prior, (B, ...), see `simulate`.
        chains: K, of each example and direction.
        temperatures: T.
        seed: of all draws.
        advance: as for `annealed`.

    Reference:
        Grosse, Ghahramani, Adams, Sandwiching the Marginal Likelihood Using Bidirectional Monte Carlo, 2015.
        arXiv:1511.02543
    """
    if len(codes) != len(batch):
        raise refuse("codes", tuple(codes.shape), f"{len(batch)} rows, one for each example")
    whole("chains", chains)
    with evaluation_mode(model), seeded(seed):
        target = _Target(model, batch)
        steps, at = _pilot(target, chains, temperatures, advance), temperatures // _PILOT
        t = temperatures_of(temperatures)
        low = _run(target, target.at(target.draws(chains)), t, steps, advance, at)
        start = target.at(codes.expand(chains, *codes.shape))
        high = _run(target, start, t.flip(0), steps, advance, at + temperatures)
    return low, high


def simulate(model: Autoencoder, like: Batch, seed: int = 0) -> tuple[Batch, Tensor]:
    """As many examples as a batch has, drawn from the model under its conditions, and their codes.

    Raises:
        RequestError: the code has no prior.
    """
    with evaluation_mode(model), seeded(seed):
        z = model.bottleneck.sample(len(like), like.condition).z
        x = model.likelihood.sample(model.decode(z, like.condition))
    return Batch(x, condition=like.condition), z


def _run(target: _Target, state: _State, t: Tensor, steps: Tensor, advance: Advance, done: int) -> Annealed:
    """Anneal along temperatures that rise or fall, with given step sizes (T + 1, B)."""
    falling = bool(t[0] > t[-1])
    log_weight = torch.zeros(state.prior.shape, dtype=torch.double)
    accepted = torch.zeros(state.prior.shape[1])
    position = torch.arange(len(t)).flip(0) if falling else torch.arange(len(t))
    for k in range(1, len(t)):
        if falling:  # the reversed chain weighs after its transition at the warmer temperature
            state, share = _move(target, state, float(t[k - 1]), steps[position[k - 1]])
        log_weight += float(t[k] - t[k - 1]) * state.likelihood.double().cpu()
        if not falling:
            state, share = _move(target, state, float(t[k]), steps[position[k]])
        accepted += share.cpu()
        advance(done + k)
    return Annealed(Importance(log_weight, inverse=falling), accepted / (len(t) - 1))


def _pilot(target: _Target, chains: int, temperatures: int, advance: Advance) -> Tensor:
    """Step sizes for T + 1 temperatures, (T + 1, B), found on other draws than those of the estimate."""
    count = max(2, temperatures // _PILOT)
    state = target.at(target.draws(chains))
    width = max(1, state.z[0, 0].numel())
    log_step = torch.full((len(target.batch),), -0.25, device=state.z.device) * torch.log(
        torch.tensor(float(width))
    )
    found = [log_step]
    for k, t in enumerate(temperatures_of(count)[1:].tolist()):
        state, share = _move(target, state, t, log_step.exp())
        log_step = log_step + _STEER * (share - _ACCEPTED)
        found.append(log_step)
        advance(min(k + 1, temperatures // _PILOT))
    rows = torch.stack(found)
    place = torch.linspace(0, count, temperatures + 1, device=rows.device)
    low = place.floor().long().clamp_max(count - 1)
    part = (place - low)[:, None]
    return ((1 - part) * rows[low] + part * rows[low + 1]).exp()


def _move(target: _Target, state: _State, t: float, step: Tensor) -> tuple[_State, Tensor]:
    """One transition that leaves f_t invariant, and the mean acceptance of each example, (B,)."""
    jitter = 1 + JITTER * (2 * torch.rand_like(state.prior[:1]) - 1)
    size = _wide((step * jitter[0]).expand_as(state.prior), state.z)
    new, change = propose(
        target.at, lambda at: at.log_density(t), lambda at: at.slope(t), state, size, _LEAPFROG
    )
    share = torch.where(change.isfinite(), change, -torch.inf).clamp_max(0).exp()
    moved = torch.rand_like(share) < share
    return state.where(moved, new), share.mean(0)


def _wide(t: Tensor, like: Tensor) -> Tensor:
    """(K, B) with axes of size 1 for those of a code."""
    return t.reshape(*t.shape, *[1] * (like.dim() - t.dim()))
