"""Stepwise posterior and recurrent likelihood: against the Kalman filter, a loop, and themselves without holes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from narrows.bottlenecks.structured.stepwise import Stepwise
from narrows.core import Batch, Code, Pass, seeded
from narrows.data.synthetic.lds import LDSTruth, draw_lds
from narrows.likelihoods import Gaussian
from narrows.likelihoods.recurrent import Recurrence, Recurrent, Step, WithSteps
from narrows.nets.sequence import Steps

N, T, D, Z = 6, 7, 3, 4


class Kalman(Recurrence):
    """A recurrence with nothing learned: its state is the filter's mean and covariance, its prior N(0, I).

    x = W m + b + L z + noise, with L L' = W P W' and L' L diagonal: then p(x_t | before) is the filter's, and
    p(z_t | x_t, before) is a diagonal Gaussian.
    """

    def __init__(self, truth: LDSTruth) -> None:
        emission = Gaussian((D,), "fixed", truth.noise**2).double()
        super().__init__(D, emission, width=8, holes=True)
        self.truth, self.first = (
            truth,
            nn.Parameter(torch.cat([torch.zeros(Z), torch.eye(Z).flatten()]).double()),
        )
        self.context = len(self.first)

    def step(self, state: Tensor, passed: Tensor) -> Step:
        mean, cov = (
            part.numpy(force=True) for part in (state[..., :Z], state[..., Z:].unflatten(-1, (Z, Z)))
        )
        ahead = [
            self.truth._ahead(m, c, passed.numpy())  # the filter of the world, a step at a time
            for m, c in zip(mean.reshape(-1, N, Z), cov.reshape(-1, N, Z, Z), strict=True)
        ]
        means, covs = (
            torch.from_numpy(np.stack(each)).reshape(*state.shape[:-1], -1)
            for each in zip(*ahead, strict=True)
        )
        zero = state.new_zeros(*state.shape[:-1], D)
        return Step(torch.cat([means, covs], -1), zero, zero + 1)

    def loadings(self, context: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """W m + b, the columns of L, and their squared lengths."""
        weight, bias = torch.from_numpy(self.truth.weight), torch.from_numpy(self.truth.bias)
        spread = weight @ context[..., Z:].unflatten(-1, (Z, Z)) @ weight.T
        values, vectors = torch.linalg.eigh(0.5 * (spread + spread.mT))
        values = values.clamp(min=0)
        return context[..., :Z] @ weight.T + bias, vectors * values.sqrt().unsqueeze(-2), values

    def emit(self, z: Tensor, context: Tensor) -> Tensor:
        centre, loading, _ = self.loadings(context)
        return centre + torch.einsum("...dk,...k->...d", loading, z)

    def embed(self, x: Tensor, observed: Tensor) -> Tensor:
        return torch.cat([torch.where(observed, x, 0.0), observed.to(x)], -1)

    def advance(self, state: Tensor, step: Step, z: Tensor, read: Tensor) -> Tensor:
        lead, context = state.shape[:-1], step.context.numpy(force=True).reshape(-1, N, state.shape[-1])
        x, seen = read.numpy()[:, :D], read.numpy()[:, D:] > 0.5
        after = [self.truth._update(c[:, :Z], c[:, Z:].reshape(-1, Z, Z), x, seen)[:2] for c in context]
        flat = [np.concatenate([m, c.reshape(N, -1)], 1) for m, c in after]
        return torch.from_numpy(np.stack(flat)).reshape(*lead, -1)


class KalmanPosterior(Stepwise):
    """The exact posterior of `Kalman`'s latents."""

    def infer(self, features: Tensor, step: Step) -> tuple[Tensor, Tensor]:
        centre, loading, values = self.core.loadings(step.context)
        precision = 1 + values / self.core.truth.noise**2
        mean = torch.einsum("...dk,...d->...k", loading, features - centre) / self.core.truth.noise**2
        return mean / precision, precision.rsqrt()


def world(irregular: bool = True) -> tuple[Tensor, Tensor, LDSTruth]:
    x, times, truth = draw_lds(np.random.default_rng(0), N, T, D, Z, 0.4, 0.1, irregular)
    kept = Gaussian((D,), "fixed", truth.noise**2).split(torch.zeros(D))[1]  # held inside bounds, smoothly
    return (
        torch.from_numpy(x),
        torch.from_numpy(times),
        replace(truth, noise=float((0.5 * kept.double()).exp())),
    )


def nats(
    bottleneck: Stepwise, likelihood: Recurrent, x: Tensor, told: dict, samples: tuple[int, ...] = ()
) -> Tensor:
    """The negative bound of each series, at one draw or at several."""
    features = {
        "features": torch.where(Steps.of(told, x).observed, x, 0.0),
        "x": x,
        "steps": Steps.of(told, x),
    }
    code = bottleneck(features, samples)
    return likelihood.nll(WithSteps(D)(code.z, told), x) + code.costs["kl"]


@pytest.mark.parametrize("holes", ["none", "steps"])
def test_with_the_filter_as_its_net_the_bound_is_the_exact_likelihood(holes):
    x, times, truth = world()
    seen = torch.ones(N, T, D, dtype=torch.bool)
    if holes == "steps":
        seen &= torch.from_numpy(np.random.default_rng(1).random((N, T, 1)) > 0.4)
    core = Kalman(truth)
    told = {"times": times, "observed": seen}
    exact = truth.log_likelihood(x.numpy(), times.numpy(), seen.numpy())
    with torch.no_grad(), seeded(0):
        found = nats(KalmanPosterior(core, D, T), Recurrent((T, D), core), x, told, samples=(5,))
    # an exact posterior makes every log-weight the log-likelihood itself
    assert torch.allclose(found, -torch.from_numpy(exact).expand(5, N), atol=1e-8)


def test_with_single_holes_the_diagonal_posterior_leaves_a_gap_on_the_right_side():
    x, times, truth = world()
    seen = torch.from_numpy(np.random.default_rng(1).random((N, T, D)) > 0.3)
    core = Kalman(truth)
    told = {"times": times, "observed": seen}
    exact = truth.log_likelihood(x.numpy(), times.numpy(), seen.numpy())
    with torch.no_grad(), seeded(0):
        found = nats(KalmanPosterior(core, D, T), Recurrent((T, D), core), x, told, samples=(400,))
    assert bool((found.mean(0).numpy() > -exact).all())


def learned(holes: bool = True, timed: bool = True) -> tuple[Stepwise, Recurrent]:
    with seeded(0):
        core = Recurrence(2, Gaussian((D,), "learned"), width=8, holes=holes, timed=timed)
        return Stepwise(core, D, T).double(), Recurrent((T, D), core).double()


def test_a_loop_over_steps_gives_the_same_bound():
    x, times, _ = world()
    bottleneck, likelihood = learned()
    core, told = bottleneck.core, {"times": times}
    steps = Steps.of(told, x)
    with torch.no_grad():
        code = bottleneck.eval()({"features": x, "x": x, "steps": steps})
        found = likelihood.nll(WithSteps(D)(code.z, told), x) + code.costs["kl"]
        for b in range(N):
            state, total = core.first, 0.0
            for t in range(T):
                passed = float(times[b, t] - times[b, max(t - 1, 0)])
                context = torch.cat([state, torch.log1p(torch.tensor([passed])).double()])
                p_mean, p_raw = core.prior(context).chunk(2)
                q_mean, q_raw = bottleneck.posterior(torch.cat([x[b, t], context])).chunk(2)
                p = torch.distributions.Normal(p_mean, p_raw.exp().log1p() + 1e-3)
                q = torch.distributions.Normal(q_mean, q_raw.exp().log1p() + 1e-3)
                total += torch.distributions.kl_divergence(q, p).sum()
                hidden = torch.cat([core.read_z(q_mean), context])
                mean, log_variance = core.output(hidden).chunk(2)
                total -= torch.distributions.Normal(mean, (0.5 * log_variance).exp()).log_prob(x[b, t]).sum()
                read = core.read_x(torch.cat([x[b, t], torch.ones(D)]))
                state = core.cell(torch.cat([read, core.read_z(q_mean), context[-1:]]), state)
            assert abs(float(found[b] - total)) < 1e-3  # the log-variance is held inside bounds, smoothly


@pytest.mark.parametrize("holes", [True, False])
def test_what_is_not_there_changes_no_bit(holes):
    x, times, _ = world()
    bottleneck, likelihood = learned(holes)
    mask = torch.ones(N, T, dtype=torch.bool)
    mask[:, -2:] = False
    seen = torch.from_numpy(np.random.default_rng(1).random((N, T, D)) > 0.3)
    told, found = {"times": times, "mask": mask, "observed": seen}, []
    for garbage in (0.0, torch.nan):
        dirty = torch.where(seen & mask.unsqueeze(-1), x, garbage)
        told = {**told, "times": torch.where(mask, times, garbage)}
        with seeded(0):
            loss = nats(bottleneck, likelihood, dirty, told).sum()
        gradients = torch.autograd.grad(loss, list(bottleneck.parameters()), allow_unused=True)
        found.append([loss, *(g for g in gradients if g is not None)])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
    with seeded(0):
        short = {name: t[:, :-2] for name, t in told.items()}
        bottleneck.eval()
        cut = nats(bottleneck, likelihood, x[:, :-2], short)
    assert torch.allclose(nats(bottleneck, likelihood, x, told), cut, atol=1e-10)


def test_a_reconstruction_sees_the_code_alone():
    x, times, _ = world()
    _, likelihood = learned()
    parameters = WithSteps(D)(torch.randn(N, T, 2).double(), {"times": times})
    other = x.flip(0)
    assert not torch.allclose(likelihood.nll(parameters, x), likelihood.nll(parameters, other))
    written = likelihood.mean(parameters)  # is given no target: teacher forcing stays in `nll`
    own = likelihood.nll(parameters, written) - likelihood.nll(parameters, written + 0.1)
    assert bool((own < 0).all())  # what it wrote itself is what it expects after what it wrote


def test_draws_of_the_prior_have_the_moments_of_the_steps():
    torch.manual_seed(0)
    _, likelihood = learned(timed=False)
    parameters = WithSteps(D)(torch.randn(4000, T, 2).double())
    drawn = likelihood.sample(parameters)
    step = likelihood.core.step(likelihood.core.start((4000,)), torch.zeros(4000))
    first = likelihood.core.emit(step.mean + step.scale * torch.randn(4000, 2).double(), step.context)
    mean, log_variance = likelihood.core.emission.split(first)
    assert torch.allclose(drawn[:, 0].mean(0), mean.mean(0), atol=0.1)
    assert torch.allclose(drawn[:, 0].var(0), mean.var(0) + log_variance.exp().mean(0), rtol=0.15)


@pytest.mark.parametrize("holes", [True, False])
def test_completing_keeps_what_was_observed_and_writes_on_from_it(holes):
    x, times, _ = world()
    _, likelihood = learned(holes)
    seen = torch.ones(N, T, D, dtype=torch.bool)
    seen[:, 4:] = False
    u = torch.randn(1, N, T, 2).double()
    parameters = WithSteps(D)(u, {"times": times, "observed": seen})

    def completed(values):
        with seeded(0):
            completion = likelihood.complete(Pass(Batch(values), Code(u), parameters))
            return completion.estimate(torch.ones(1, N)), completion.draw(torch.zeros(1, N).long())[0]

    others, spoilt = completed(torch.where(seen, x + 1, x)), completed(torch.where(seen, x, torch.nan))
    for done, other, same in zip(completed(x), others, spoilt, strict=True):
        assert torch.equal(done[:, :4], x[:, :4])
        assert not torch.allclose(done[:, 4:], other[:, 4:])  # a forecast goes on from what came before
        assert torch.equal(done, same)
