"""The displacement of a reconstruction against exact scores."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from narrows import data as nd
from narrows import likelihoods
from narrows.audit import audit
from narrows.bottlenecks.deterministic.identity import Identity
from narrows.core import Autoencoder, Objective
from narrows.methods.regularised.denoising_ae import denoising_ae
from narrows.methods.variational.vae import vae


class Score(nn.Module):
    """x + s^2 score(x), of the data with some noise."""

    def __init__(self, truth, s, noise=0.0):
        super().__init__()
        self.truth, self.s, self.noise = truth, s, noise

    def forward(self, z, condition):
        return z + self.s**2 * torch.from_numpy(self.truth.score(z.numpy(), self.noise)).float()


class Encoder(nn.Module):
    def __init__(self, noise):
        super().__init__()
        self.input_noise = noise

    def forward(self, x, condition):
        return x


def model(truth, s, noise=0.0):
    parts = Encoder(noise), Identity(), Score(truth, s, noise)
    return Autoencoder(*parts, likelihoods.Squared((2,)), Objective()).eval()


def found(report):
    return {check.name: check for check in report.checks if check.name.startswith("score")}


@pytest.mark.parametrize("kind", ["gaussians", "pinwheel"])
def test_a_step_along_the_score_has_cosine_1(kind):
    world = nd.open("densities2d", kind=kind, n=100, tests=300)
    checks = found(audit(model(world.truth, 0.2), world.test))
    assert checks["score/cosine"].value == pytest.approx(1, abs=1e-4)
    assert abs(checks["score/cosine"].chance) < 0.3
    assert checks["score/noise"].value == pytest.approx(0.2, rel=1e-3)


def test_the_score_of_a_denoiser_is_that_of_the_data_with_its_noise():
    world = nd.open("densities2d", n=100, tests=300)
    checks = found(audit(model(world.truth, 0.3, noise=0.3), world.test))
    assert checks["score/cosine"].value == pytest.approx(1, abs=1e-4)
    assert "with noise 0.3" in checks["score/cosine"].says
    plain = found(audit(model(world.truth, 0.3), world.test))
    assert checks["score/noise"].value == pytest.approx(plain["score/noise"].value, rel=1e-3)


def test_a_density_that_has_no_score_with_noise_is_compared_without():
    world = nd.open("densities2d", kind="pinwheel", n=100, tests=200)
    built = denoising_ae(
        world.spec, latent=4, corruption="gaussian", level=0.2, net="mlp:8", likelihood="squared"
    )
    assert built.encoder.input_noise == 0.2
    assert "without noise" in found(audit(built.eval(), world.test))["score/cosine"].says


def test_the_arrows_lie_near_the_data_and_point_along_the_displacement():
    world = nd.open("densities2d", n=100, tests=500)
    (chart,) = (f for f in audit(model(world.truth, 0.1), world.test).figures if f.name == "displacement")
    arrows = chart.series[1]
    ends = np.stack([arrows.x, arrows.y], 1).reshape(-1, 2, 2)
    moved = ends[:, 1] - ends[:, 0]
    exact = world.truth.score(ends[:, 0])
    cosine = (moved * exact).sum(1) / np.linalg.norm(moved, axis=1) / np.linalg.norm(exact, axis=1)
    assert cosine.min() > 0.999 or np.linalg.norm(moved, axis=1)[cosine < 0.999].max() < 1e-3
    x = world.test.x.numpy()
    assert np.linalg.norm(ends[:, 0][:, None] - x, axis=-1).min(1).max() < 1.0


def test_nothing_is_said_of_a_model_with_a_posterior():
    world = nd.open("densities2d", n=100, tests=200)
    report = audit(vae(world.spec, latent=2, net="mlp:8").eval(), world.test)
    assert not found(report)
    assert not [f for f in report.figures if f.name == "displacement"]


def test_a_prediction_of_another_target_is_no_displacement():
    world = nd.open("densities2d", n=100, tests=200)
    other = replace(world.test, target=world.test.x.flip(1))
    names = [
        {figure.name for figure in audit(model(world.truth, 0.1), data).figures}
        for data in (world.test, other)
    ]
    assert "displacement" in names[0] - names[1]
    assert not found(audit(model(world.truth, 0.1), other))
