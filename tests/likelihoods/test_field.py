import math

import pytest
import torch
from torch.distributions import Normal

from narrows.core.check import RequestError
from narrows.kernels.quadrature import trapezium
from narrows.likelihoods.field import FunctionGaussian


def test_the_cost_of_a_function_is_its_integral_on_any_grid():
    """The integral of sin(2 pi y)^2 over the unit interval is a half."""
    for n in (17, 64, 257):
        y = torch.linspace(0, 1, n, dtype=torch.float64)
        u = torch.sin(2 * math.pi * y)[None, :, None]
        nll = FunctionGaussian((64, 1), 0.1).nll(torch.zeros_like(u), u, trapezium(y)[None, :, None])
        assert torch.allclose(nll, torch.tensor([0.5 / 0.02], dtype=torch.float64))


def test_equal_weights_are_a_normal_of_variance_q_sigma_squared():
    """Two functions' costs differ as their log-densities under white noise in Q equal cells do."""
    likelihood, u = FunctionGaussian((10, 2), 0.3), torch.randn(4, 10, 2, dtype=torch.float64)
    noise = Normal(torch.zeros((), dtype=torch.float64), 0.3 * math.sqrt(10))
    f, g = torch.randn(2, 4, 10, 2, dtype=torch.float64)
    found = likelihood.nll(f, u) - likelihood.nll(g, u)
    exact = noise.log_prob(u - g).sum((1, 2)) - noise.log_prob(u - f).sum((1, 2))
    assert torch.allclose(found, exact)


def test_relative_to_the_noise_alone():
    """The paper's form, in which the infinite constant is gone: (1/2 int f^2 - int f u) / sigma^2."""
    likelihood, u, f = FunctionGaussian((6, 1), 0.5), torch.randn(3, 6, 1), torch.randn(2, 3, 6, 1)
    found = likelihood.nll(f, u) - likelihood.nll(torch.zeros_like(f), u)
    exact = ((f * f).mean(-2) / 2 - (f * u).mean(-2)).squeeze(-1) / 0.5**2
    assert torch.allclose(found, exact, atol=1e-5)


def test_points_that_are_missing_are_left_out_of_the_mean():
    likelihood, u, f = FunctionGaussian((9, 2)), torch.randn(3, 9, 2), torch.randn(3, 9, 2)
    weight = torch.rand(3, 9).repeat_interleave(2).reshape(3, 9, 2)
    weight[:, 5:] = 0
    expected = likelihood.nll(f[:, :5], u[:, :5], weight[:, :5, 0])
    assert torch.allclose(likelihood.nll(f, u, weight), expected)
    weight[0] = 0
    assert likelihood.nll(f, u, weight)[0] == 0


def test_garbage_where_no_point_is_changes_no_bit_of_loss_or_gradient():
    likelihood = FunctionGaussian((5, 1))
    weight = torch.tensor([0.5, 0.25, 0.25, 0.0, 0.0])[None, :, None]
    seen = []
    for garbage in (0.0, float("nan")):
        f = torch.linspace(0, 1, 5)[None, :, None].clone()
        f[:, 3:] = garbage
        f.requires_grad_()
        u = torch.ones(1, 5, 1)
        u[:, 4] = garbage
        loss = likelihood.nll(f, u, weight).sum()
        loss.backward()
        seen.append((loss.detach(), f.grad))
    assert torch.equal(seen[0][0], seen[1][0])
    assert torch.equal(seen[0][1], seen[1][1])


def test_samples_have_the_deviation_of_white_noise_in_equal_cells():
    torch.manual_seed(0)
    drawn = FunctionGaussian((100, 1), 0.2).sample(torch.zeros(500, 100, 1))
    assert abs(float(drawn.std()) - 0.2 * 10) < 0.02


@pytest.mark.parametrize("noise", [0, -1.0, float("inf")])
def test_a_noise_that_is_none_is_refused(noise):
    with pytest.raises(RequestError, match="above 0"):
        FunctionGaussian((4, 1), noise)
