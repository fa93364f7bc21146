"""Conversions between data, noise, velocity and score against a mixture's, by autograd."""

import pytest
import torch
from diffusion_worlds import log_density, posterior_mean

from narrows.core.check import RequestError
from narrows.diffusion.paths import PATHS, make_path
from narrows.diffusion.predictions import PREDICTIONS, check_prediction, express, read


@pytest.mark.parametrize("name", PATHS)
def test_the_four_predictions_of_a_mixture_agree_with_its_score(name):
    """Score by autograd, data by responsibilities: two computations, of which neither uses the conversions."""
    torch.manual_seed(0)
    path = make_path(name)
    for time in (0.1, 0.5, 0.9):
        level = path.level(torch.tensor(time, dtype=torch.float64))
        x = (level.power.sqrt() * torch.randn(9, 2, dtype=torch.float64)).requires_grad_()
        (score,) = torch.autograd.grad(log_density(x, *level).sum(), x)
        mean = posterior_mean(x.detach(), *level)
        found = read("score", score, x.detach(), level, path)
        assert torch.allclose(found.x, mean, atol=1e-8 * (1 + float(level.sigma / level.alpha) ** 2))
        for prediction in PREDICTIONS:
            told = express(prediction, found, level, path)
            assert torch.allclose(read(prediction, told, x.detach(), level, path).e, found.e, atol=1e-8)


def test_velocities_are_the_ones_of_the_papers():
    x, e = torch.randn(2, 3, dtype=torch.float64)
    t = torch.tensor(0.3, dtype=torch.float64)
    for name in ("linear", "cosine", "ddpm", "edm"):
        path = make_path(name)
        alpha, sigma = level = path.level(t)
        expected = {
            "linear": e - x,
            "cosine": alpha * e - sigma * x,
            "ddpm": alpha * e - sigma * x,
            "edm": (e - sigma * x) / (1 + sigma**2).sqrt(),
        }[name]
        found = express("v", read("x", x, alpha * x + sigma * e, level, path), level, path)
        assert torch.allclose(found, expected)


def test_the_target_of_the_preconditioned_net_is_karras_with_unit_data():
    """F = (x - c_skip x_t) / c_out, with c_skip = 1 / (s^2 + 1) and c_out = s / sqrt(s^2 + 1), is -v."""
    x, e = torch.randn(2, 5, dtype=torch.float64)
    path = make_path("edm")
    level = path.level(torch.tensor(0.4, dtype=torch.float64))
    s, state = level.sigma, x + level.sigma * e
    target = (x - state / (s**2 + 1)) / (s / (s**2 + 1).sqrt())
    assert torch.allclose(-express("v", read("x", x, state, level, path), level, path), target)


def test_noise_alone_does_not_determine_the_data():
    for name in ("linear", "cosine"):
        with pytest.raises(RequestError, match="nothing of the data is left"):
            check_prediction("e", make_path(name))
    with pytest.raises(RequestError, match="score"):
        check_prediction("noise", make_path("ddpm"))
