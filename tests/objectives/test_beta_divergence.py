"""The beta-divergence of Gaussian likelihoods."""

import numpy as np
import pytest
import torch

import narrows.data as nd
from narrows.core import Batch
from narrows.core.check import RequestError
from narrows.methods.regularised.ae import ae
from narrows.methods.variational.vae import vae
from narrows.objectives.beta_divergence import BetaDivergence
from narrows.train import optimise


def built(beta, **options):
    torch.manual_seed(0)
    return vae((3,), latent=2, penalty=f"beta-divergence:beta={beta}", **options).eval()


@pytest.mark.parametrize("beta", [0.05, 0.5, 1.0])
@pytest.mark.parametrize("variance", ["gaussian:fixed,0.7", "gaussian:learned"])
def test_it_equals_its_definition_with_a_numerical_integral(beta, variance):
    model = built(beta, likelihood=variance)
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(1))
    passed = model(Batch(x))
    mean, log_variance = (part.detach().double().numpy() for part in model.likelihood.split(passed.output))
    log_variance = np.broadcast_to(log_variance, mean.shape)
    t = np.linspace(-40, 40, 400_001)
    expected = np.zeros(4)
    for i in range(4):
        for d in range(3):
            m, v = mean[i, d], np.exp(log_variance[i, d])
            density = np.exp(-0.5 * (t - m) ** 2 / v) / np.sqrt(2 * np.pi * v)
            power = np.exp(-0.5 * (float(x[i, d]) - m) ** 2 / v) / np.sqrt(2 * np.pi * v)
            integral = np.sum(density ** (1 + beta)) * (t[1] - t[0])
            expected[i] += (1 - power**beta) / beta + integral / (1 + beta)
    found = BetaDivergence(beta)(model, passed)["beta_divergence"]
    assert found.detach().numpy() == pytest.approx(expected, rel=1e-4)


def test_it_replaces_the_distortion_and_keeps_the_rate():
    model = built(0.1)
    batch = Batch(torch.randn(4, 3, generator=torch.Generator().manual_seed(1)))
    loss = model.objective(model, batch)
    assert float(loss.total) == pytest.approx(
        float(loss.terms["beta_divergence"] + loss.terms["kl"]), rel=1e-5
    )


def test_for_small_beta_it_is_the_nll_plus_one_for_each_element():
    model = built(1e-4)
    passed = model(Batch(torch.randn(4, 3, generator=torch.Generator().manual_seed(1))))
    found = BetaDivergence(1e-4)(model, passed)["beta_divergence"]
    assert torch.allclose(found, model.likelihood.pass_nll(passed) + 3, atol=1e-2)


def test_missing_cells_have_no_term():
    model = built(0.5)
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(1))
    seen = torch.tensor([1.0, 0.0, 1.0]).expand(4, 3)
    one = BetaDivergence(0.5)(model, model(Batch(x, target=x, weight=seen)))["beta_divergence"]
    changed = torch.where(seen == 1, x, 1e6)
    two = BetaDivergence(0.5)(model, model(Batch(x, target=changed, weight=seen)))["beta_divergence"]
    assert torch.equal(one, two)


def test_outliers_move_the_mean_less():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((500, 3)).astype(np.float32)
    x[:50] += 12
    source = nd.open({"x_train": x, "x_test": x}, scale="none")
    centres = {}
    for penalty in ("none", "beta-divergence:beta=0.5"):
        torch.manual_seed(0)
        model = vae(
            source.spec, latent=1, net="linear", likelihood="gaussian:fixed,1", beta=100.0, penalty=penalty
        )
        optimise(model, source.train, steps=400, lr=0.02, seed=0, validation=0)
        with torch.no_grad():
            centres[penalty] = float(model.decoder(torch.zeros(1, 1)).mean())
    assert centres["none"] > 0.8  # the mean of all rows is 1.2
    assert centres["beta-divergence:beta=0.5"] < 0.2


def test_bad_requests():
    for beta in (0, -1):
        with pytest.raises(RequestError, match="above 0"):
            BetaDivergence(beta)
    with pytest.raises(RequestError, match="gaussian"):
        ae((3,), likelihood="student-t", penalty="beta-divergence")
