"""Holes and forecasts of series against exact conditionals: a linear system, and a regression on the value before."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from narrows.audit.evidence.imputation import impute
from narrows.bottlenecks.structured.stepwise import Stepwise
from narrows.core import Autoencoder, Batch, Code, Pass
from narrows.data.synthetic.lds import draw_lds
from narrows.likelihoods import Gaussian
from narrows.likelihoods.recurrent import Recurrence, Recurrent, Step, WithSteps
from narrows.nets.sequence import StepEncoder
from narrows.objectives.elbo import Elbo

T, D, Z, NOISE, SAMPLES = 6, 2, 2, 0.4, 100_000


class Exact(Recurrence):
    """The linear system itself: the state is the latent of the step before, and whether there was one."""

    def __init__(self, truth):
        super().__init__(Z, Gaussian((D,), "fixed", truth.noise**2), width=4)
        self.truth = truth

    def start(self, lead):
        return torch.zeros(*lead, Z + 1)

    def step(self, state, passed):
        gap = passed.numpy()
        turn = torch.from_numpy(self.truth.transition(gap)).float()
        past, before = state[..., Z:], state[..., :Z]
        mean = torch.einsum("bzy,...by->...bz", turn, before) * past
        fresh = torch.from_numpy(1 - np.exp(-2 * self.truth.damping * gap)).float()[:, None]
        scale = torch.where(past > 0, fresh, 1.0).sqrt().clamp(min=1e-6).expand(mean.shape)
        return Step(state, mean, scale)

    def emit(self, z, context):
        w, b = (torch.from_numpy(part).float() for part in (self.truth.weight, self.truth.bias))
        return z @ w.T + b

    def advance(self, state, step, z, read):
        return torch.cat([z, torch.ones_like(z[..., :1])], -1)


class Regression(Recurrence):
    """x_t = a x_{t-1} + noise: what was read is all that the next step knows."""

    a = 0.8

    def __init__(self):
        super().__init__(1, Gaussian((D,), "fixed", NOISE**2), width=4)

    def start(self, lead):
        return torch.zeros(*lead, D)

    def step(self, state, passed):
        return Step(state, torch.zeros(*state.shape[:-1], 1), torch.ones(*state.shape[:-1], 1))

    def emit(self, z, context):
        return self.a * context

    def embed(self, x, observed):
        return torch.where(observed, x, 0.0)

    def advance(self, state, step, z, read):
        return read.expand(state.shape)


class Blind(Stepwise):
    """Proposes from the prior, so that the weights have all the work."""

    def infer(self, features, step):
        return step.mean, step.scale


def model(core):
    return Autoencoder(
        StepEncoder(D, 3, width=4), Blind(core, 3, T), WithSteps(D), Recurrent((T, D), core), Elbo()
    ).eval()


def test_holes_and_forecasts_are_the_exact_conditionals_of_a_linear_system():
    x, times, truth = draw_lds(np.random.default_rng(1), 3, T, D, Z, NOISE, 0.2, True)
    seen = np.random.default_rng(2).random(x.shape) > 0.3
    seen[:, 4:] = False  # the forecast
    seen[1, 2] = False  # a whole step
    observed = torch.from_numpy(seen)
    values = torch.from_numpy(np.where(seen, x, 0)).float()
    told = {"observed": observed, "times": torch.from_numpy(times).float()}
    found = impute(model(Exact(truth)), Batch(values, None, told, observed.float()), SAMPLES, 4000, seed=0)
    for b in range(len(x)):
        cov, here = truth.covariance(times[b]), seen[b].ravel()
        gain = np.linalg.solve(cov[np.ix_(here, here)], cov[np.ix_(here, ~here)]).T
        centre = np.tile(truth.bias, T)
        mean = centre[~here] + gain @ (x[b].ravel() - centre)[here]
        spread = cov[np.ix_(~here, ~here)] - gain @ cov[np.ix_(here, ~here)]
        error = np.sqrt(np.diag(spread) / float(found.ess[b]))
        assert float(found.ess[b]) > 300
        assert (np.abs(found.cells[b].numpy().ravel()[~here] - mean) < 4.5 * error).all()
        assert torch.equal(found.cells[b][observed[b]], values[b][observed[b]])
        assert torch.equal(found.draws[:, b][:, observed[b]], values[b][observed[b]].expand(4000, -1))
        draws = found.draws[:, b].numpy().reshape(4000, -1)[:, ~here]
        assert np.abs(np.cov(draws.T) - spread).max() < 0.25 * spread.max()  # steps together, not each alone


def test_draws_of_a_forecast_from_one_code_have_the_spread_of_later_latents():
    x, times, truth = draw_lds(np.random.default_rng(1), 2, T, D, Z, NOISE, 0.2, True)
    begin, count = 3, 4000
    observed = torch.arange(T)[None, :, None].expand(2, T, D) < begin
    told = {"observed": observed, "times": torch.from_numpy(times).float()}
    batch = Batch(torch.from_numpy(x).float() * observed, None, told, observed.float())
    found = impute(model(Exact(truth)), batch, 1, count, seed=0)
    for b in range(2):
        # Given the state of the last observed step: the covariance given that step, seen without noise.
        after, gaps = times[b, begin:], times[b, begin:] - times[b, begin - 1]
        turns = truth.transition(gaps)
        prior = truth.covariance(after) - truth.noise**2 * np.eye(len(after) * D)
        known = np.einsum("iz,szy,tqy,jq->sitj", truth.weight, turns, turns, truth.weight)
        exact = prior - known.reshape(prior.shape) + truth.noise**2 * np.eye(len(prior))
        drawn = found.draws[:, b, begin:].numpy().reshape(count, -1)
        error = np.sqrt((np.outer(np.diag(exact), np.diag(exact)) + exact**2) / count)
        assert (np.abs(np.cov(drawn.T) - exact) < 4.5 * error).all()


def test_a_forecast_reads_what_it_has_drawn():
    core, horizon = Regression(), 4
    x = torch.tensor([[2.0, -1.0]]).expand(1, 2, D)
    values = torch.cat([x, torch.zeros(1, horizon, D)], 1)
    observed = torch.zeros_like(values, dtype=torch.bool)
    observed[:, :2] = True
    batch = Batch(values, None, {"observed": observed}, observed.float())
    found = impute(model(core), batch, 4000, 4000, seed=0)
    powers = core.a ** np.arange(1, horizon + 1)
    spread = NOISE**2 * np.cumsum(core.a ** (2 * np.arange(horizon)))
    ahead = found.cells[0, 2:].numpy()
    assert np.abs(ahead - powers[:, None] * x[0, 0].numpy()).max() < 5 * np.sqrt(spread.max() / 4000)
    draws = found.draws[:, 0, 2:, 0].numpy()
    between = np.cov(draws.T)
    lags = np.abs(np.subtract.outer(range(horizon), range(horizon)))
    exact = np.minimum.outer(spread, spread) * core.a**lags
    assert np.abs(between - exact).max() < 0.1 * exact.max()


@pytest.mark.parametrize("holes", [False, True])
def test_a_completion_has_the_nll_of_the_observed_and_does_not_look_into_holes(holes):
    core = Recurrence(2, Gaussian((D,)), width=8, holes=holes)
    likelihood, decoder = Recurrent((T, D), core), WithSteps(D)
    x, observed = torch.randn(3, T, D), torch.rand(3, T, D) < 0.6
    parameters = decoder(torch.randn(5, 3, T, 2), {"observed": observed})
    code = Code(torch.zeros(5, 3, T, 2))
    found, spoilt = (
        likelihood.complete(Pass(Batch(values, weight=observed.float()), code, parameters))
        for values in (x, torch.where(observed, x, torch.nan))
    )
    assert torch.allclose(found.nll, likelihood.nll(parameters, x, observed.float()), atol=1e-5)
    even = torch.full((5, 3), 0.2)
    one, other = (f.estimate(even)[~observed] for f in (found, spoilt))
    inside = (observed.any(-1).flip(1).cumsum(1).flip(1) > 0)[..., None] & ~observed
    assert torch.equal(found.estimate(even)[inside], spoilt.estimate(even)[inside])
    assert torch.isfinite(torch.cat([one, other])).all()
