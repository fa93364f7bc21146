"""Densities of the plane: they integrate to one, have the scores of finite differences, and are those of the draws."""

import numpy as np
import pytest

import narrows.data as nd
from narrows.core.check import RequestError

KINDS = ("gaussians", "pinwheel", "spiral")


@pytest.mark.parametrize("kind", KINDS)
def test_the_density_integrates_to_one_and_is_that_of_the_draws(kind):
    source = nd.open("densities2d", kind=kind, n=40_000)
    side = np.linspace(-5, 5, 101)
    grid = np.stack(np.meshgrid(side, side, indexing="ij"), -1).reshape(-1, 2)
    density = np.exp(source.truth.log_density(grid)) * (side[1] - side[0]) ** 2
    assert density.sum() == pytest.approx(1, abs=1e-3)
    cell = 1.0
    x = source.train.x.numpy()
    for corner in ((-2.5, -0.5), (0.0, 1.0), (1.0, -2.0)):
        inside = [np.all((p >= corner) & (p < np.add(corner, cell)), axis=1) for p in (x, grid)]
        assert inside[0].mean() == pytest.approx(density[inside[1]].sum(), abs=0.012)


@pytest.mark.parametrize(
    ("kind", "noise"), [*((kind, 0.0) for kind in KINDS), ("gaussians", 0.3), ("spiral", 0.3)]
)
def test_the_score_is_the_gradient(kind, noise):
    source = nd.open("densities2d", kind=kind, n=50, tests=50)
    x, step = source.test.x.double().numpy(), 1e-5
    for i in range(2):
        shift = step * np.eye(2)[i]
        ends = [source.truth.log_density(x + sign * shift, noise) for sign in (1, -1)]
        numeric = (ends[0] - ends[1]) / (2 * step)
        np.testing.assert_allclose(source.truth.score(x, noise)[:, i], numeric, rtol=1e-4, atol=1e-3)


def test_the_noisy_density_is_the_mean_over_noise():
    truth = nd.open("densities2d", n=10).truth
    x = np.array([[2.0, 0.0], [1.5, 0.2], [1.0, 1.0]])
    noise = 0.3 * np.random.default_rng(0).standard_normal((100_000, 2))
    mean = np.array([np.exp(truth.log_density(row - noise)).mean() for row in x])
    np.testing.assert_allclose(np.exp(truth.log_density(x, 0.3)), mean, rtol=0.03)


def test_what_cannot_be_is_refused():
    with pytest.raises(RequestError, match="one of `gaussians`, `pinwheel`, `spiral`"):
        nd.open("densities2d", kind="moons")
    with pytest.raises(RequestError, match="closed form"):
        nd.open("densities2d", kind="pinwheel", n=10).truth.score(np.zeros((1, 2)), noise=0.1)
