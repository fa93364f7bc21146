"""The distributional sliced Wasserstein distance and the prior of weights, against assignments and closed forms."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch.distributions import Normal

from narrows.core import Batch, Spec, seeded
from narrows.methods.regularised.bae import bae
from narrows.objectives.distributional import Slicer, distributional_distance
from narrows.testing import examples
from narrows.train.plan import Plan
from narrows.train.stages import prepare


def transport(a, b):
    """The Wasserstein distance of order 2 of numbers, by an optimal assignment of all pairs."""
    costs = (a[:, None] - b).square().numpy()
    return float(np.sqrt(costs[linear_sum_assignment(costs)].mean()))


def test_in_one_dimension_it_is_the_cost_of_the_best_assignment():
    a, b = torch.randn(50, 1), 2 * torch.randn(50, 1) + 1
    expected = transport(a[:, 0], b[:, 0])
    assert distributional_distance(a, b, steps=0) == pytest.approx(expected, rel=1e-5)
    assert distributional_distance(a, b, steps=20) == pytest.approx(expected, rel=1e-5)


def test_without_learning_it_is_the_mean_over_uniform_directions():
    """Of points and their multiples by c the squared distance is (c - 1)^2 E|x|^2 / D."""
    torch.manual_seed(0)
    a = torch.randn(100, 4)
    found = distributional_distance(a, 3 * a, slices=4000, steps=0)
    assert found == pytest.approx(float((4 * a.square().sum(1).mean() / 4).sqrt()), rel=0.03)
    b = torch.randn(100, 4) @ torch.diag(torch.tensor([1.0, 2.0, 0.5, 3.0]))
    theta = torch.randn(300, 4)
    theta /= theta.norm(dim=1, keepdim=True)
    brute = np.sqrt(np.mean([transport(a @ one, b @ one) ** 2 for one in theta]))
    assert distributional_distance(a, b, slices=4000, steps=0) == pytest.approx(brute, rel=0.1)


def test_learned_directions_find_the_difference():
    """Two Gaussians differ along one of ten axes alone, by a shift of 3: the largest distance of a slice is 3."""
    torch.manual_seed(0)
    a = torch.randn(400, 10)
    b = a.clone()
    b[:, 4] += 3
    uniform = distributional_distance(a, b, slices=500, steps=0)
    assert uniform == pytest.approx(3 / math.sqrt(10), rel=0.15)  # E (theta_4 3)^2 = 9 / 10
    angles = torch.linspace(0, math.pi, 200)
    directions = torch.zeros(200, 10)
    directions[:, 4], directions[:, 5] = angles.cos(), angles.sin()
    brute = max(
        float(((a @ d).sort().values - (b @ d).sort().values).square().mean().sqrt()) for d in directions
    )
    assert brute == pytest.approx(3, rel=1e-3)
    free = distributional_distance(a, b, apart=0, steps=200)
    assert 0.97 * brute < free <= brute + 1e-4
    apart = distributional_distance(a, b, apart=10, steps=200)
    assert uniform < apart < free


def test_the_penalty_keeps_directions_apart():
    torch.manual_seed(0)
    a = torch.randn(100, 6)
    b = a + torch.tensor([2.0, 0, 0, 0, 0, 0])
    spread = {}
    for apart in (0.0, 50.0):
        slicer = Slicer(6, apart=apart)
        slicer.learn(a, b, 200)
        with torch.no_grad():
            theta = slicer()
            spread[apart] = float((theta @ theta.T).abs().mean())
        torch.testing.assert_close(theta.norm(dim=1), torch.ones(len(theta)))
    assert spread[50.0] < 0.5 < spread[0.0]


def model_of(spec, **options):
    with seeded(0):
        return bae(spec, net="mlp:8", latent=2, prior="none", **options)


def test_the_penalty_is_the_log_density_of_the_weights():
    model = model_of(Spec((6,), "real"))
    prior = model.objective.weight_prior
    prior.set_rows(10)
    prior.means.uniform_(-1, 1)
    prior.scales.uniform_(0.5, 2)
    found = prior(model, None)["weights"]
    expected, constant = 0.0, 0.0
    weights = [p for sets in model.weight_sets for p in sets.module.parameters()]
    for p, mean, scale in zip(weights, prior.means, prior.scales, strict=True):
        expected -= float(Normal(mean, scale).log_prob(p).sum())
        constant -= float(Normal(mean, scale).log_prob(mean)) * p.numel()
    assert float(found) == pytest.approx((expected - constant) / 10, rel=1e-4)
    assert len(weights) == 4 + 4 + 1


def test_draws_have_the_mean_and_scale_of_their_tensor():
    model = model_of(Spec((300,), "unit"))
    prior = model.objective.weight_prior
    prior.means.copy_(torch.arange(len(prior.means)))
    prior.scales.copy_(torch.linspace(0.1, 2, len(prior.scales)))
    with seeded(0):
        encoder, decoder, likelihood = prior.draw()
    assert [len(w) for w in (encoder, decoder, likelihood)] == [sum(s.sizes) for s in model.weight_sets]
    first = encoder[: 8 * 300]  # the first layer's weights
    assert float(first.mean()) == pytest.approx(0, abs=0.01)
    assert float(first.std()) == pytest.approx(0.1, rel=0.05)
    last = decoder.split(model.decoder.sizes)[-2]
    place = len(model.encoder.sizes) + len(model.decoder.sizes) - 2
    assert float(last.mean()) == pytest.approx(place, abs=0.2)
    assert float(last.std()) == pytest.approx(float(prior.scales[place]), rel=0.05)


def test_outputs_under_weights_are_those_of_a_model_with_these_weights():
    model = model_of(Spec((6,), "binary"))
    x = torch.rand(4, 6)
    drawn = model.objective.weight_prior.draw()
    found = model.mean_under(drawn, Batch(x))
    for sets, flat in zip(model.weight_sets, drawn, strict=True):
        for p, value in zip(sets.module.parameters(), flat.split(sets.sizes), strict=True):
            p.data.copy_(value.view_as(p))
    torch.testing.assert_close(found, model.reconstruct(Batch(x)))


def test_matching_brings_outputs_nearer_to_the_data():
    """Dark data: only a prior with another mean than 0 makes outputs dark."""
    spec = Spec((8,), "binary")
    data = examples(spec, 60)
    data.x.copy_((torch.rand(60, 8, generator=torch.Generator().manual_seed(0)) < 0.1).float())
    batch = data.all()
    model = model_of(spec, iterations=150)
    prior = model.objective.weight_prior

    def distance():
        with torch.no_grad(), seeded(1):
            made = torch.cat([model.mean_under(prior.draw(), batch) for _ in range(20)])
            return distributional_distance(made, batch.x.repeat(20, 1), steps=30), float(made.mean())

    before, grey = distance()
    prepare(model, model.stages()[0], data, Plan(), torch.device("cpu"))
    after, dark = distance()
    assert after < 0.6 * before
    assert abs(dark - 0.1) < abs(grey - 0.1) / 2
    assert int(prior.rows) == 60


def test_a_given_scale_is_left_alone():
    model = model_of(Spec((6,), "binary"), prior_scale=1.0)
    prepare(model, model.stages()[0], examples(Spec((6,), "binary"), 60), Plan(), torch.device("cpu"))
    prior = model.objective.weight_prior
    assert prior.scales.tolist() == [1.0] * len(prior.scales)
    assert not prior.means.any()
