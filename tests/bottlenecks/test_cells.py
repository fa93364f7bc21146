"""Cells of a grid: their probabilities, the divergence by brute force, draws and centres."""

import math

import pytest
import torch
from torch.distributions import Normal

from narrows.bottlenecks.discrete.cells import CellQuantizer
from narrows.core import Batch
from narrows.core.check import RequestError
from narrows.methods.quantised.lq_vae import lq_vae


def cells_of(x, levels, step):
    """The cell of each number, by a search over all faces."""
    faces = [step * (k - levels / 2) for k in range(1, levels)]
    return torch.tensor([sum(float(v) > face for face in faces) for v in x.flatten()]).view(x.shape)


@pytest.mark.parametrize(("levels", "step"), [(2, 1.0), (5, 0.5), (4, 0.7)])
def test_the_divergence_is_that_of_a_mixture_of_uniform_cells(levels, step):
    torch.manual_seed(0)
    cells = CellQuantizer(3, levels=levels, step=step, noise=0.4).double().eval()
    x = torch.randn(6, 3, dtype=torch.float64)
    edges = torch.tensor([-math.inf, *(step * (k - levels / 2) for k in range(1, levels)), math.inf])
    p = Normal(x[..., None], 0.4 * step).cdf(edges.double()).diff(dim=-1)
    torch.testing.assert_close(cells.log_cells(x).exp(), p, rtol=1e-4, atol=1e-12)
    n = 2000  # the integral of q log q / p over each cell, by the midpoint rule
    centres = step * (torch.arange(levels).double() - (levels - 1) / 2)
    points = centres[:, None] + step * ((torch.arange(n) + 0.5) / n - 0.5)
    log_prior = Normal(0.0, 1.0).log_prob(points).mean(-1)
    expected = (torch.special.xlogy(p, p / step) - p * log_prior).sum((-2, -1))
    code = cells(x)
    torch.testing.assert_close(code.costs["kl"], expected, rtol=1e-4, atol=1e-6)
    index = cells_of(x, levels, step)
    assert torch.equal(cells.to_symbols(code), index)
    assert torch.equal(code.z, centres[index])
    assert torch.equal(cells.from_symbols(index).z.double(), code.z)


def test_draws_are_points_of_cells_and_their_log_ratios_have_the_divergence_as_mean():
    torch.manual_seed(0)
    cells = CellQuantizer(2, levels=3, step=0.8, noise=0.5).train()
    x = torch.tensor([[0.5, -0.1]])
    drawn = cells(x, (100_000,))
    assert drawn.z.shape == (100_000, 1, 2)
    assert abs(float(drawn.costs["kl"].mean() - cells(x).costs["kl"])) < 0.01
    inner = (drawn.z.abs() <= 0.4).double().mean((0, 1))
    torch.testing.assert_close(inner, cells.log_cells(x).exp()[0, :, 1].double(), atol=0.01, rtol=0)
    assert float(drawn.z.abs().max()) <= 1.2


def test_the_gradient_is_straight_through_within_the_cells():
    cells = CellQuantizer(3, levels=3, step=1.0, noise=1e-3).eval()
    x = torch.tensor([[0.3, 1.4, 1.6]], requires_grad=True)
    assert torch.autograd.grad(cells(x).z.sum(), x)[0].tolist() == [[1.0, 1.0, 0.0]]


def test_latents_far_out_have_finite_costs_and_gradients():
    cells = CellQuantizer(2, levels=5, step=0.5, noise=0.1)
    x = torch.tensor([[1e4, -1e4], [0.0, 1e-8]], requires_grad=True)
    cost = cells(x).costs["kl"]
    assert bool(cost.isfinite().all())
    assert bool(torch.autograd.grad(cost.sum(), x)[0].isfinite().all())


def test_the_encoder_moves_by_no_more_than_its_factor():
    torch.manual_seed(0)
    model = lq_vae((6,), latent=3, lipschitz=4.0, net="linear").eval()
    x = torch.randn(200, 6)
    moved = (model.encoder(x[1:]) - model.encoder(x[:-1])).norm(dim=1) / (x[1:] - x[:-1]).norm(dim=1)
    assert 1.0 < float(moved.max()) < 4.001
    assert model.encode(Batch(x)).z.shape == (200, 3)


@pytest.mark.parametrize("wrong", [{"levels": 1}, {"step": 0.0}, {"noise": 0.0}, {"lipschitz": -1.0}])
def test_cells_without_width_are_refused(wrong):
    with pytest.raises(RequestError, match=next(iter(wrong))):
        lq_vae((6,), **wrong)
