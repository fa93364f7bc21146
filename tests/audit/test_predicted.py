"""Latents that collapse at the optimum of a linear VAE: before training, and in the audit."""

import numpy as np
import pytest
import torch

from narrows import data as nd
from narrows import fit
from narrows.audit.evidence.threshold import linear_threshold
from narrows.audit.metrics.linear_optimum import critical_beta, linear_optimum, linear_variance
from narrows.core import Batch
from narrows.core.progress import Silent
from narrows.methods.index import builder
from narrows.runs.rescue import rescue

VALUES = np.array([9.0, 4.0, 2.0, 0.5, 0.3, 0.2])


def loss(values, latent, beta, v):
    """-ELBO of the best linear VAE by brute force over the gain and the noise of each latent."""
    total = 0.5 * len(values) * np.log(v)
    for i, one in enumerate(values):
        if i >= latent:
            total += one / (2 * v)
            continue
        # z = N(w y, s^2) decoded by u z: the best u, w and s of a direction with variance `one`
        rate = np.linspace(0, 6, 4001)  # nats; the Gaussian channel leaves variance one * exp(-2 rate)
        total += (one * np.exp(-2 * rate) / (2 * v) + beta * rate).min()
    return total


@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("latent", [1, 3])
def test_the_learned_variance_is_the_minimum_over_a_grid(beta, latent):
    grid = np.exp(np.linspace(np.log(0.02), np.log(10), 800))
    brute = grid[np.argmin([loss(VALUES, latent, beta, v) for v in grid])]
    assert linear_variance(VALUES, latent, beta) == pytest.approx(brute, rel=0.02)


def test_with_beta_1_it_is_that_of_probabilistic_pca():
    assert linear_variance(VALUES, 3, 1.0) == pytest.approx(VALUES[3:].mean())


@pytest.mark.parametrize("variance", [None, 0.25])
def test_all_latents_are_used_below_the_critical_weight_alone(variance):
    at = critical_beta(VALUES, 3, variance)
    for beta, used in ((0.98 * at, 3), (1.02 * at, 2)):
        v = linear_variance(VALUES, 3, beta) if variance is None else variance
        assert (linear_optimum(VALUES, 3, beta * v) > 0).sum() == used


def test_data_without_enough_directions():
    assert critical_beta(np.array([1.0, 0.0]), 2) == 0
    assert linear_variance(np.array([1.0, 0.0]), 1, 1.0) == 0


@pytest.fixture(scope="module")
def rows():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(1000, 6, generator=generator) * torch.tensor(VALUES).float().sqrt()


@pytest.mark.parametrize(("beta", "active"), [(1.0, 3), (3.0, 2), (6.0, 1), (20.0, 0)])
def test_latents_whose_variance_is_above_beta_v_are_used(rows, beta, active):
    model = builder("vae")((6,), latent=3, beta=beta, likelihood="gaussian:fixed")
    found = linear_threshold(model, Batch(rows), step=1)
    assert found.active == active
    assert bool(found.says) == (active < 3)


def test_the_weight_is_the_last_one_of_a_schedule(rows):
    model = builder("vae")((6,), latent=3, beta="linear:0:20:100", likelihood="gaussian:fixed")
    assert linear_threshold(model, Batch(rows), step=100).active == 0


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("vae", {"free_bits": 0.5}),
        ("iwae", {}),
        ("ae", {}),
        ("vamp-vae", {}),
        ("vae", {"likelihood": "gaussian:learned"}),
    ],
)
def test_there_is_no_threshold_for_other_losses(rows, method, options):
    model = builder(method)((6,), latent=3, **options)
    assert linear_threshold(model, Batch(rows), step=1) is None


class Said(Silent):
    """Keeps what is said."""

    def __init__(self):
        self.lines = []

    def say(self, text):
        self.lines.append(text)


def test_fit_says_it_and_the_audit_compares(rows, tmp_path):
    said = Said()
    data = nd.open(rows.numpy(), scale="none")
    run = fit(
        data, "vae", tmp_path / "a", latent=3, beta=6.0, likelihood="gaussian:fixed", steps=2, progress=said
    )
    assert "Expect posterior collapse" in said.lines[0]
    assert "uses 1 of 3 latents" in said.lines[0]
    assert "beta below 1.95" in said.lines[0]
    check = run.audit()["latents/predicted"]
    assert check.value == 1
    assert "active" in check.says


def test_a_rescue_lowers_a_beta_that_is_too_large(rows, tmp_path):
    data = nd.open(rows.numpy(), scale="none")
    options = {"latent": 3, "likelihood": "gaussian:fixed", "progress": False}
    large = fit(data, "vae", tmp_path / "large", beta=20.0, steps=200, **options)
    check = large.audit()["collapse"]
    assert check.value in ("partial", "total")
    assert "Lower beta below 1.95" in check.says
    found = rescue(large, tmp_path / "mended", progress=False)
    assert found.changed == {"beta": pytest.approx(1.95 / 2, rel=0.02)}
    assert found.helped
