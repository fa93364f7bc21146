"""The flow over codes: a density in their own scale, which its draws follow, and what it learns of two clouds."""

import math

import pytest
import torch

from narrows.core import Batch, Symbols, seeded
from narrows.core.check import RequestError
from narrows.priors import make_prior
from narrows.priors.flow import NormalisingFlow

pytest.importorskip("zuko")


def clouds(n: int) -> torch.Tensor:
    return torch.cat([torch.randint(2, (n, 1)) * 6.0 - 3 + 0.3 * torch.randn(n, 1), torch.randn(n, 1)], 1)


@pytest.mark.parametrize("kind", ["nsf", "maf"])
def test_the_density_is_one_of_codes_in_their_own_scale(kind: str) -> None:
    torch.manual_seed(0)
    prior = NormalisingFlow(Symbols((2,)), kind=kind, transforms=2, width=8).double()
    prior.prepare(
        None, Batch(torch.randn(2000, 2).double() * torch.tensor([3.0, 0.2]) + torch.tensor([5.0, -1.0]))
    )
    x, y = torch.linspace(-10, 20, 301).double(), torch.linspace(-2, 0, 301).double()
    with torch.no_grad(), seeded(0):
        grid = torch.cartesian_prod(x, y)
        density = (-prior.nll(grid)).exp() * (x[1] - x[0]) * (y[1] - y[0])
        drawn = prior.sample(20_000)
    assert float(density.sum()) == pytest.approx(1, abs=0.01)
    torch.testing.assert_close(drawn.mean(0), (grid * density[:, None]).sum(0), atol=0.1, rtol=0)


def test_it_learns_two_clouds_that_one_gaussian_does_not() -> None:
    torch.manual_seed(0)
    prior = NormalisingFlow(Symbols((2, 1)), width=16, transforms=2)
    prior.prepare(None, Batch(clouds(4096)[..., None]))
    (player,) = prior.players()
    optimizer = torch.optim.Adam(player.parameters, lr=1e-2)
    for step in range(150):
        loss = player.loss(Batch(clouds(256)[..., None]), step).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    normal = 0.5 * math.log(2 * math.pi * math.e)
    entropy, gaussian = math.log(2) + 2 * normal + math.log(0.3), 2 * normal + math.log(math.sqrt(9.09))
    with torch.no_grad():
        nll = float(prior.nll(clouds(1000)[..., None]).mean())
    assert entropy - 0.1 < nll < gaussian - 0.5
    drawn = prior.sample(500)
    assert drawn.shape == (500, 2, 1)
    assert float((drawn[:, 0].abs() - 3).abs().mean()) < 1


def test_of_a_posterior_it_learns_draws() -> None:
    mean = torch.zeros(5000, 2)
    batch = Batch(mean, condition={"deviation": torch.tensor([0.5, 2.0]).expand(5000, 2)})
    prior = NormalisingFlow(Symbols((2,)), width=4)
    with seeded(0):
        prior.prepare(None, batch)
    torch.testing.assert_close(prior.scale, torch.tensor([0.5, 2.0]), rtol=0.05, atol=0)
    assert prior.loss(batch).passed.code.z.std() > 1


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(RequestError, match="at least 2 latents"):
        make_prior("flow", Symbols((1,)))
    with pytest.raises(RequestError, match="kind"):
        make_prior("flow:kind=realnvp", Symbols((3,)))
    with pytest.raises(RequestError, match="These do: autoregressive"):
        make_prior("flow", Symbols((4,), codes=8))
