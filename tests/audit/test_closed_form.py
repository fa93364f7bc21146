"""Rate and latents in use of a linear VAE against the exact posterior of its world."""

import numpy as np
import pytest
import torch

from narrows import data as nd
from narrows.audit import audit
from narrows.audit.metrics.linear_optimum import linear_optimum
from narrows.methods.variational.linear_cvae import linear_cvae
from narrows.methods.variational.vae import vae

SPECTRUM, NOISE = (6.0, 3.0, 1.0), 0.5


@pytest.fixture(scope="module")
def world():
    return nd.open("linear", n=200, d=6, latent=3, spectrum=SPECTRUM, noise=NOISE, tests=4000)


def at_the_optimum(world, latent=5):
    """A linear VAE whose posterior is the exact one, with latents that are not used."""
    truth, model = world.truth, linear_cvae(world.spec, latent=latent, variance=NOISE**2)
    _, covariance = truth.posterior(np.zeros((1, 6)))
    up = np.zeros((latent, 6))
    up[:3] = covariance @ truth.weight.T / NOISE**2
    down = np.concatenate([truth.weight, np.zeros((6, latent - 3))], 1)
    log_variance = np.concatenate([np.log(np.diag(covariance)), np.zeros(latent - 3)])
    maps = [m for m in model.modules() if isinstance(m, torch.nn.Linear)]
    with torch.no_grad():
        for one, weight, bias in ((maps[0], up, -up @ truth.bias), (maps[1], down, truth.bias)):
            one.weight.copy_(torch.from_numpy(weight))
            one.bias.copy_(torch.from_numpy(bias))
        model.bottleneck.variance.log_variance.copy_(torch.from_numpy(log_variance))
    return model.eval()


def found(model, world, **how):
    return {c.name: c for c in audit(model, world.test, **how).checks if c.name.startswith("closed-form")}


def test_the_rate_is_that_of_the_exact_posterior(world):
    mean, covariance = world.truth.posterior(world.test.x.numpy())
    s2 = np.diag(covariance)
    exact = 0.5 * (mean**2 + s2 - 1 - np.log(s2)).sum(1).mean()
    checks = found(at_the_optimum(world), world)
    assert checks["closed-form/rate"].value == pytest.approx(exact, rel=0.03)
    assert checks["closed-form/rate"].verdict == "ok"
    assert (checks["closed-form/active"].value, checks["closed-form/active"].verdict) == (3, "ok")


def test_an_untrained_model_is_not_at_the_optimum(world):
    torch.manual_seed(0)
    checks = found(linear_cvae(world.spec, latent=5, variance=NOISE**2).eval(), world)
    assert checks["closed-form/rate"].verdict == "warn"
    assert "Train longer" in checks["closed-form/rate"].says


def test_a_weight_on_the_divergence_moves_the_optimum(world):
    model = linear_cvae(world.spec, latent=5, variance=NOISE**2, beta=8.0)
    checks = found(model.eval(), world)
    assert checks["closed-form/active"].value == 2  # eigenvalues above 8 * 0.25
    expected = 0.5 * (np.log(6 / 2) + np.log(3 / 2))
    assert checks["closed-form/rate"].value == pytest.approx(expected, rel=1e-4)


def test_what_is_given_is_left_out_of_the_covariance():
    world = nd.open("linear", n=200, d=6, latent=2, noise=NOISE, given=4, tests=300)
    s = world.truth.covariance
    left = s[4:, 4:] - s[4:, :4] @ np.linalg.inv(s[:4, :4]) @ s[:4, 4:]
    assert np.allclose(world.truth.eigenvalues(given=4), np.linalg.eigvalsh(left))
    checks = found(linear_cvae(world.spec, latent=2, variance=0.1).eval(), world)
    expected = 0.5 * np.log(np.maximum(np.linalg.eigvalsh(left) / 0.1, 1)).sum()
    assert checks["closed-form/rate"].value == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("options", [{"net": "mlp:16"}, {"net": "linear", "free_bits": 0.5}])
def test_nothing_is_said_of_other_models(world, options):
    assert not found(vae(world.spec, latent=3, **options).eval(), world)


def test_no_more_latents_than_eigenvalues():
    assert linear_optimum(np.array([np.e**2]), 3, 1.0).tolist() == [1.0, 0.0, 0.0]
