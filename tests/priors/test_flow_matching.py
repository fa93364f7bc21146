"""Flow matching against Gaussians in closed form, a density integrated on a grid, and a mixture it is trained on."""

import itertools
import math

import pytest
import torch
from torch.distributions import Normal

from narrows.core import Batch, Symbols
from narrows.core.check import RequestError
from narrows.priors.flow_matching import FlowMatching


def prior(shape=(2,), **options):
    torch.manual_seed(0)
    return FlowMatching(Symbols(shape), width=16, depth=1, **options).double().eval()


def fitted(flow, rows):
    flow.prepare(None, Batch(rows))
    return flow


@pytest.mark.parametrize("shape", [(3,), (4, 2), (70,)])
def test_without_its_net_the_prior_is_one_gaussian_of_the_codes_own_scale(shape):
    torch.manual_seed(1)
    rows = 3 + torch.randn(500, *shape, dtype=torch.float64) * torch.linspace(0.1, 4, shape[-1])
    flow = fitted(prior(shape), rows)
    torch.nn.init.zeros_(flow.net.out.weight)
    per_channel = rows.flatten(0, -2)
    mean, deviation = per_channel.mean(0), per_channel.std(0, correction=0)
    expected = -Normal(mean, deviation).log_prob(rows[:5]).flatten(1).sum(1)
    assert flow.nll(rows[:5]).tolist() == pytest.approx(expected.tolist(), abs=0.01 * math.prod(shape))
    drawn = flow.sample(2000, steps=20).flatten(0, -2)
    assert torch.allclose((drawn.mean(0) - mean) / deviation, torch.zeros_like(mean), atol=0.1)
    assert torch.allclose(drawn.std(0), deviation, rtol=0.08)


def test_the_density_of_a_net_integrates_to_one_and_samples_follow_it():
    flow = prior()
    torch.nn.init.normal_(flow.net.out.weight, std=0.08)  # far from Gaussian
    flow.shift.copy_(torch.tensor([1.0, -2.0]))
    flow.scale.copy_(torch.tensor([2.0, 0.5]))
    sides = [torch.linspace(m - 7 * s, m + 7 * s, 81, dtype=torch.float64) for m, s in ((1, 2), (-2, 0.5))]
    grid = torch.cartesian_prod(*sides)
    cell = float((sides[0][1] - sides[0][0]) * (sides[1][1] - sides[1][0]))
    density = (-flow.nll(grid)).exp().detach()
    assert float(density.sum() * cell) == pytest.approx(1, abs=0.01)
    drawn = flow.sample(20_000, steps=30)
    for power in (1, 2):
        moment = (density[:, None] * grid**power).sum(0) * cell
        assert torch.allclose((drawn**power).mean(0), moment, atol=0.12)
    gaussian = -Normal(flow.shift, flow.scale).log_prob(grid).sum(1)
    assert ((-gaussian).exp() - density).abs().sum() * cell > 0.05, "the net changes nothing"


def test_the_divergence_is_the_trace_of_the_jacobian_and_its_estimate_unbiased():
    """The mean over all 2^4 directions of signs is the trace, exactly."""
    flow = prior((4,))
    torch.nn.init.normal_(flow.net.out.weight, std=0.3)
    x, t = torch.randn(3, 4, dtype=torch.float64), torch.tensor(0.4, dtype=torch.float64)
    _, exact = flow._divergence(x, t, None)
    jacobian = torch.autograd.functional.jacobian(lambda row: flow.predict(row[None], t[None])[0], x[0])
    assert float(exact[0]) == pytest.approx(float(jacobian.trace()))
    signs = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=4)), dtype=torch.float64)
    flow.probes = signs / 4
    assert torch.allclose(flow._divergence(x, t, None)[1], exact)
    assert prior((70,)).probes.square().sum(0).tolist() == pytest.approx([1.0] * 70)


def test_training_on_a_mixture_beats_one_gaussian_and_comes_near_its_entropy():
    torch.manual_seed(0)

    def clouds(n):
        two = torch.randint(2, (n, 1)) * 6.0 - 3 + 0.5 * torch.randn(n, 1)
        return torch.cat([two, 100 + 5 * torch.randn(n, 1)], 1)

    flow = FlowMatching(Symbols((2,)), width=32, depth=2)
    flow.prepare(None, Batch(clouds(4096)))
    (player,) = flow.players()
    optimizer = torch.optim.Adam(player.parameters, lr=4e-3)
    for step in range(400):
        loss = player.loss(Batch(clouds(256)), step)
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
    held_out = clouds(300)
    normal = 0.5 * math.log(2 * math.pi * math.e)
    entropy = math.log(2) + normal + math.log(0.5) + normal + math.log(5)
    gaussian = 2 * normal + math.log(math.sqrt(9.25)) + math.log(5)
    nll = float(flow.eval().nll(held_out).mean())
    assert entropy - 0.1 < nll < entropy + 0.25
    assert gaussian > entropy + 1
    drawn = flow.sample(2000, steps=30)
    assert (drawn[:, 0].abs() - 3).abs().mean() < 0.6  # it is 0.4 for the mixture
    assert drawn[:, 1].mean() == pytest.approx(100, abs=0.5)


def test_a_deviation_beside_the_codes_means_draws():
    flow = fitted(prior((2,)), torch.randn(10, 2, dtype=torch.float64))
    torch.manual_seed(0)
    mean = torch.tensor([[5.0, -5.0]], dtype=torch.float64).expand(50_000, 2)
    batch = Batch(
        mean, condition={"deviation": torch.tensor([0.5, 2.0], dtype=torch.float64).expand(50_000, 2)}
    )
    drawn = flow.prepare(None, batch) or flow
    assert torch.allclose(drawn.shift, mean[0], atol=0.05)
    assert torch.allclose(drawn.scale, torch.tensor([0.5, 2.0], dtype=torch.float64), rtol=0.02)


def test_samples_of_a_solver_are_those_of_the_velocity():
    flow = prior()
    torch.nn.init.normal_(flow.net.out.weight, std=0.3)
    torch.manual_seed(3)
    found = flow.sample(7, steps=4, sampler="euler")
    torch.manual_seed(3)
    x = torch.randn(7, 2, dtype=torch.float64)
    for i in range(4):
        t = torch.full((7,), 1 - i / 4, dtype=torch.float64)
        x = x - 0.25 * flow.predict(x, t)
    assert torch.allclose(found, x.detach())
    exact = flow.sample(1, steps=1)
    assert exact.shape == (1, 2)


def test_guidance_draws_away_from_what_the_untold_net_says():
    flow = prior((2,), labels=True, classes=3)
    torch.nn.init.normal_(flow.net.out.weight, std=0.3)
    labels = torch.eye(3, dtype=torch.float64)[[0, 1]]
    for w in (1.0, 2.5):
        torch.manual_seed(3)
        found = flow.sample(2, {"labels": labels}, steps=1, sampler="euler", guidance=w)
        torch.manual_seed(3)
        x, one = torch.randn(2, 2, dtype=torch.float64), torch.ones(2, dtype=torch.float64)
        told, untold = flow.predict(x, one, labels), flow.predict(x, one, 0 * labels)
        assert torch.allclose(found, x - untold - w * (told - untold))
    with pytest.raises(RequestError, match="guidance"):
        prior().sample(2, guidance=2.0)


def test_wrong_symbols_and_options_are_refused():
    with pytest.raises(RequestError, match="These do: autoregressive"):
        FlowMatching(Symbols((4,), codes=8))
    for wrong in ({"steps": 0}, {"sampler": "ddim"}):
        with pytest.raises(RequestError, match=next(iter(wrong))):
            prior().sample(2, **wrong)
