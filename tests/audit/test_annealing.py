"""Annealed importance sampling against the exact likelihood of linear-Gaussian data."""

import numpy as np
import pytest
import torch
from audit_models import StandInGaussian, codebook_model, gaussian_model, plain_model
from torch.distributions import Independent, Normal, Uniform

import narrows.data as nd
from narrows.audit.evidence import annealing
from narrows.audit.evidence.annealing import annealed, bracket, simulate, temperatures_of, transitions
from narrows.core import Batch, Code
from narrows.core.check import RequestError


@pytest.fixture(scope="module")
def world():
    """The world `linear` and a model whose prior and decoder are its own; the encoder knows nothing."""
    source = nd.open("linear", n=100, d=8, latent=3, scale="none")
    truth = source.truth
    model = gaussian_model((8,), 3, truth.noise**2)
    with torch.no_grad():
        model.decoder.linear.weight.copy_(torch.from_numpy(truth.weight))
        model.decoder.linear.bias.copy_(torch.from_numpy(truth.bias))
    return source, truth, model


def test_it_is_the_exact_likelihood_whatever_the_posterior(world):
    source, truth, model = world
    x = source.test.all(40).x
    found = annealed(model, Batch(x), chains=8, temperatures=300)
    exact = torch.from_numpy(truth.log_likelihood(x.numpy()))
    off = found.weights.log_p - exact
    assert float(off.mean()) == pytest.approx(0, abs=0.1)
    scaled = off / found.weights.error
    assert float(scaled.square().mean().sqrt()) < 1.6, "standard errors are of the size of the errors"
    assert 0.6 < float(found.accepted.mean()) < 0.7


def test_with_few_temperatures_the_likelihood_is_between_both_directions(world):
    _, truth, model = world
    batch, codes = simulate(model, Batch(torch.zeros(300, 8)), seed=3)
    low, high = bracket(model, batch, codes, chains=1, temperatures=12)
    exact = float(truth.log_likelihood(batch.x.numpy()).mean())
    assert float(low.weights.log_p.mean()) < exact - 0.2
    assert float(high.weights.log_p.mean()) > exact + 0.2


def test_with_a_thousand_temperatures_the_bounds_agree(world):
    _, truth, model = world
    batch, codes = simulate(model, Batch(torch.zeros(40, 8)))
    low, high = bracket(model, batch, codes, chains=8, temperatures=1000)
    exact = float(truth.log_likelihood(batch.x.numpy()).mean())
    bounds = float(low.weights.log_p.mean()), float(high.weights.log_p.mean())
    assert bounds == pytest.approx((exact, exact), abs=0.1)
    assert bounds[1] - bounds[0] < 0.1


def test_the_mean_of_the_weights_is_p_of_x(world):
    """The estimate of p(x) itself is unbiased even with few temperatures, as step sizes do not adapt within a run."""
    _, truth, model = world
    x = torch.from_numpy(truth.bias).float().expand(50, 8) + 0.5
    found = annealed(model, Batch(x), chains=200, temperatures=10)
    ratio = (found.weights.log_weights - float(truth.log_likelihood(x[:1].numpy())[0])).exp()
    error = float(ratio.std()) / ratio.numel() ** 0.5
    assert float(ratio.mean()) == pytest.approx(1, abs=4 * error)
    assert error < 0.03


def test_one_transition_leaves_its_target_invariant():
    """Exact draws of a posterior remain draws of it, also with a step that is far too long."""
    model = gaussian_model((4,), 2, 0.3, seed=1)
    w = model.decoder.linear.weight.detach().double()
    target = annealing._Target(model.eval(), Batch(model.decoder.linear.bias.detach().expand(1, 4)))
    covariance = torch.linalg.inv(torch.eye(2, dtype=torch.double) + 0.7 * w.T @ w / 0.3)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        z = torch.distributions.MultivariateNormal(torch.zeros(2).double(), covariance).sample((60_000, 1))
        state, share = annealing._move(target, target.at(z.float()), 0.7, torch.tensor([0.8]))
    assert 0.3 < float(share) < 0.99
    assert torch.allclose(state.z[:, 0].T.cov().double(), covariance, atol=0.01)


def test_temperatures_are_the_sigmoids_between_its_ends():
    delta, k = 4.0, np.arange(11)
    steps = 1 / (1 + np.exp(-delta * (2 * k / 10 - 1)))
    assert temperatures_of(10).tolist() == pytest.approx(
        ((steps - steps[0]) / (steps[-1] - steps[0])).tolist()
    )


def test_progress_ends_at_the_announced_total(world):
    _, _, model = world
    batch, codes = simulate(model, Batch(torch.zeros(2, 8)))
    for both in (False, True):
        seen = []
        if both:
            bracket(model, batch, codes, temperatures=11, advance=seen.append)
        else:
            annealed(model, batch, temperatures=11, advance=seen.append)
        assert seen == sorted(seen)
        assert seen[-1] == transitions(11, both)


def test_seeds_mode_and_generator(world):
    _, _, model = world
    model.train()
    before = torch.random.get_rng_state()
    runs = [
        annealed(model, Batch(torch.zeros(2, 8)), temperatures=5, seed=s).weights.log_p for s in (0, 0, 1)
    ]
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])
    assert model.training
    assert torch.equal(before, torch.random.get_rng_state())


class Box(StandInGaussian):
    """Codes with a prior on the unit cube."""

    def forward(self, h, samples=()):
        code = super().forward(h, samples)
        p = Independent(Uniform(torch.zeros(self.latent), torch.ones(self.latent)), 1)
        return Code(code.z, code.costs, code.q, p)


class Two(StandInGaussian):
    """A hierarchy whose prior covers one level only."""

    def forward(self, h, samples=()):
        code = super().forward(h, samples)
        p = Independent(Normal(torch.zeros(1), torch.ones(1)), 1)
        return Code(code.z, {"kl/1": code.costs["kl"]}, code.q, p)


def test_codes_that_cannot_be_annealed_are_refused():
    with pytest.raises(RequestError, match="Fit a method with a posterior"):
        annealed(plain_model((6,)), Batch(torch.zeros(2, 6)))
    with pytest.raises(RequestError, match="needs a prior"):
        annealed(codebook_model((6,)), Batch(torch.zeros(2, 6)))
    for part, says in ((Box(3), "another space"), (Two(3), "several levels")):
        model = gaussian_model((6,))
        model.bottleneck = part
        with pytest.raises(RequestError, match=f"{says}.*iwae"):
            annealed(model, Batch(torch.zeros(2, 6)))
    with pytest.raises(RequestError, match="temperatures"):
        annealed(gaussian_model((6,)), Batch(torch.zeros(2, 6)), temperatures=1)
    with pytest.raises(RequestError, match="codes"):
        bracket(gaussian_model((6,)), Batch(torch.zeros(2, 6)), torch.zeros(3, 3))
