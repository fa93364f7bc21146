"""Ensembles of weight sets against loops over models that have each set as their own weights."""

import copy
import math

import numpy as np
import pytest
import torch
from torch.distributions import Bernoulli, Normal

from narrows.core import Batch, Spec, seeded
from narrows.core.check import RequestError
from narrows.methods.regularised.bae import bae
from narrows.runs.fit import fit, resume
from narrows.runs.loading import load
from narrows.testing import examples
from narrows.train import Plan, optimise

SIZES = {"net": "mlp:8", "latent": 2, "prior": "none", "iterations": 1}


def trained(spec, sets=3, steps=9, thin=2, burn_in=2, **options):
    """A model after 9 steps: sets of steps 4, 6 and 8."""
    with seeded(0):
        model = bae(spec, sets=sets, thin=thin, burn_in=burn_in, **SIZES, **options)
    return model, optimise(model, examples(spec, 40), steps=steps, batch_size=20, lr=1e-3)


def single(model, k):
    """A copy whose own weights are those of set k, without sets."""
    one = copy.deepcopy(model)
    for sets in one.weight_sets:
        for p, value in zip(sets.module.parameters(), sets.weights[k].split(sets.sizes), strict=True):
            p.data.copy_(value.view_as(p))
        sets.stored.zero_()
    return one.eval()


@pytest.mark.parametrize("spec", [Spec((6,), "binary"), Spec((6,), "real")], ids=["binary", "real"])
def test_predictions_are_means_over_models(spec):
    """Of the Gaussian likelihood the variance is part of each set, too."""
    model, _ = trained(spec)
    assert model.encoder.available == 3
    batch = examples(spec, 7).all()
    alone = [single(model, k) for k in range(3)]
    with torch.no_grad():
        nll = torch.stack([one.likelihood.pass_nll(one(batch)) for one in alone])
        torch.testing.assert_close(
            model.likelihood.pass_nll(model(batch)), math.log(3) - torch.logsumexp(-nll, 0)
        )
        assert nll.std(0).min() > 0
        mean = torch.stack([one.reconstruct(batch) for one in alone]).mean(0)
        torch.testing.assert_close(model.reconstruct(batch), mean)
        codes = torch.stack([one.encode(batch).z for one in alone]).mean(0)
        torch.testing.assert_close(model.encode(batch).z, codes)
        decoded = torch.stack([one.likelihood.mean(one.decode(codes)) for one in alone]).mean(0)
        torch.testing.assert_close(model.likelihood.mean(model.decode(codes)), decoded)


def test_the_density_of_an_average_is_the_average_of_densities():
    """Against torch.distributions, with two known sets."""
    model, _ = trained(Spec((6,), "real"), sets=2)
    x = examples(Spec((6,), "real"), 5).all().x
    z = model.encode(Batch(x)).z
    with torch.no_grad():
        outputs = model.decode(z)
        density = torch.zeros(5)
        for k in range(2):
            likelihood = single(model, k).likelihood.base
            deviation = (0.5 * likelihood.log_variance).exp()
            density += 0.5 * Normal(outputs[:, k], deviation).log_prob(x).sum(1).exp()
        torch.testing.assert_close(model.likelihood.nll(outputs, x), -density.log())


def test_draws_come_from_one_set_each():
    model, _ = trained(Spec((6,), "binary"), sets=2)
    outputs = torch.tensor([[-100.0] * 6, [100.0] * 6]).expand(4000, 2, 6)
    with torch.no_grad(), seeded(0):
        drawn = model.likelihood.sample(outputs)
    assert set(drawn.sum(1).tolist()) == {0.0, 6.0}
    assert float(drawn[:, 0].mean()) == pytest.approx(0.5, abs=0.04)
    assert torch.allclose(model.likelihood.mean(outputs), Bernoulli(torch.full((4000, 6), 0.5)).mean)


def test_which_steps_are_kept():
    """The newest sets, one every `thin` steps after `burn_in`; the weights in training are another one."""
    spec = Spec((6,), "binary")
    seen = {}
    for steps in (2, 3, 4, 6, 8):
        with seeded(0):
            model = bae(spec, sets=2, thin=2, burn_in=2, **SIZES)
        optimise(model, examples(spec, 40), steps=steps, batch_size=20, lr=1e-3)
        seen[steps] = torch.cat([p.flatten() for p in model.encoder.module.parameters()]).detach(), model
    assert [model.encoder.available for _, model in seen.values()] == [0, 0, 1, 2, 2]
    stored = seen[8][1].encoder.weights
    torch.testing.assert_close(stored[0], seen[8][0])  # the third set took the place of the first
    torch.testing.assert_close(stored[1], seen[6][0])
    early = seen[3][1].eval()
    assert torch.equal(early.encode(Batch(torch.ones(2, 6))).z, early.encoder.module(torch.ones(2, 6)))


def test_the_method_has_a_budget_of_its_own_and_no_early_stopping():
    model = bae((6,), **SIZES)
    plan = Plan.of(500, model.default_plan, {})
    assert (plan.steps, plan.validation, plan.patience) == (6000, 0, None)
    assert Plan.of(500, model.default_plan, {"steps": 10}).steps == 10


def test_a_likelihood_that_is_no_density_is_refused():
    with pytest.raises(RequestError, match="`likelihood` must be a density"):
        bae((6,), likelihood="squared")
    for bad in ({"sets": 0}, {"thin": 0}, {"burn_in": -1}, {"friction": 0.0}, {"prior_scale": -1.0}):
        with pytest.raises(RequestError, match=next(iter(bad))):
            bae((6,), prior="none", **bad)


def test_a_run_that_goes_on_ends_in_the_same_bits(tmp_path):
    """Chain, prior of weights and sets are in the checkpoint."""
    x = (torch.rand(40, 6, generator=torch.Generator().manual_seed(0)) > 0.5).float().numpy()
    how = {**SIZES, "sets": 3, "thin": 2, "burn_in": 2, "batch_size": 10, "progress": False}
    direct = fit(x, "bae", tmp_path / "direct", steps=9, **how)
    fit(x, "bae", tmp_path / "short", steps=5, **how)
    later = resume(tmp_path / "short", steps=9, data=x, progress=False)
    assert int(later.model.encoder.stored) == 3
    first, second = direct.model.state_dict(), later.model.state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    np.testing.assert_array_equal(direct.score(x), load(tmp_path / "short").score(x))
    assert direct.score_unit(x) == "distortion_nats"
