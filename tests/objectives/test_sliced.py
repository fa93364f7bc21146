"""Sliced transport against sorting, closed forms, and the shapes of the priors."""

import itertools
import math

import pytest
import torch

from narrows.bottlenecks.deterministic.shaped import Shaped
from narrows.core import Batch, seeded
from narrows.core.check import RequestError
from narrows.methods.regularised.swae import swae
from narrows.objectives.sliced import directions, sliced_wasserstein


def test_along_one_direction_it_is_the_best_of_all_assignments():
    torch.manual_seed(0)
    a, b = torch.randn(2, 5, 3).double()
    theta = directions(1, 3, a)
    x, y = (a @ theta[0]).tolist(), (b @ theta[0]).tolist()
    best = min(
        sum((x[i] - y[j]) ** 2 for i, j in enumerate(order)) / 5 for order in itertools.permutations(range(5))
    )
    assert float(sliced_wasserstein(a, b, theta)) == pytest.approx(best)


def test_of_two_gaussians_it_is_the_squared_difference_of_their_scales():
    with seeded(0):
        a, b = torch.randn(40_000, 3), 2.5 * torch.randn(40_000, 3)
        slices = directions(50, 3, a)
    assert float(sliced_wasserstein(a, b, slices)) == pytest.approx(1.5**2, rel=0.02)
    assert torch.allclose(slices.norm(dim=1), torch.ones(50))
    shift = torch.tensor([1.0, 0.0, 0.0])
    assert float(sliced_wasserstein(a, a + shift, slices)) == pytest.approx(
        float((slices @ shift).square().mean())
    )


def test_the_loss_is_that_of_the_paper():
    torch.manual_seed(0)
    model = swae((5,), latent=2, shape="square", weight=0.7, slices=8).train()
    batch = Batch(torch.randn(6, 5))
    with seeded(3):
        found = model.loss(batch)
    with seeded(3):
        z, drawn = model.encode(batch).z, 2 * torch.rand(6, 2) - 1
        slices = directions(8, 2, z)
    expected = (model.decode(z) - batch.x).square().sum(1).mean()
    for theta in slices:
        expected = expected + 0.7 * ((z @ theta).sort()[0] - (drawn @ theta).sort()[0]).square().mean() / 8
    assert float(found.total) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("latent", [2, 5])
def test_the_priors_have_their_shapes(latent):
    with seeded(0):
        ring, square, normal = (
            Shaped(latent, shape).sample(40_000).z for shape in ("ring", "square", "normal")
        )
    radius = ring.norm(dim=1)
    half = ((0.5**latent + 1) / 2) ** (1 / latent)  # half of the volume lies inside
    assert float((radius < half).float().mean()) == pytest.approx(0.5, abs=0.01)
    assert torch.allclose(ring.mean(0), torch.zeros(latent), atol=0.02)
    assert torch.allclose(square.std(0), torch.full((latent,), 1 / math.sqrt(3)), rtol=0.02)
    assert float(square.abs().max()) <= 1
    assert torch.allclose(normal.std(0), torch.ones(latent), rtol=0.02)


def test_what_cannot_be_is_refused():
    with pytest.raises(RequestError, match="one of `normal`, `ring`, `square`, `gaussians`, `swiss-roll`"):
        swae((5,), shape="heart")
    with pytest.raises(RequestError, match="slices"):
        swae((5,), slices=0)
