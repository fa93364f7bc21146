"""Diffusion against the loss of a loop over betas, and against Gaussians, whose likelihood and samples are known."""

import math

import pytest
import torch
from torch.distributions import Normal

from narrows.core import Batch, Symbols
from narrows.core.check import RequestError
from narrows.priors.diffusion import Diffusion


def prior(shape=(2,), **options):
    torch.manual_seed(0)
    return Diffusion(Symbols(shape), width=16, depth=1, heads=2, **options).double().eval()


def test_the_loss_is_the_error_of_the_noise_at_a_step_of_the_chain():
    diffusion = prior((3,), prediction="e")
    torch.nn.init.normal_(diffusion.net.out.weight, std=0.3)
    diffusion.shift.fill_(2.0)
    diffusion.scale.fill_(0.5)
    codes = 2 + 0.5 * torch.randn(6, 3, dtype=torch.float64)
    torch.manual_seed(4)
    found = diffusion.loss(Batch(codes)).total
    torch.manual_seed(4)
    t, noise = diffusion.times_and_noise((codes - 2) / 0.5)
    total = 0.0
    for row in range(6):
        step, kept = round(float(t[row]) * 1000), 1.0
        assert 1 <= step <= 1000
        for i in range(step):
            kept *= 1 - (1e-4 + (0.02 - 1e-4) * i / 999)
        state = math.sqrt(kept) * (codes[row] - 2) / 0.5 + math.sqrt(1 - kept) * noise[row]
        learned = diffusion.net(state[None], t[row : row + 1])[0]
        # of N(0, 1) the expected noise is sqrt(1 - kept) times the state, with deviation sqrt(kept)
        total += (
            float((math.sqrt(1 - kept) * state + math.sqrt(kept) * learned - noise[row]).square().mean()) / 6
        )
    assert float(found) == pytest.approx(total, rel=1e-6)


@pytest.mark.parametrize(
    ("path", "prediction"), [("ddpm", "e"), ("cosine", "v"), ("edm", "x"), ("linear", "v")]
)
@pytest.mark.parametrize("shape", [(3,), (4, 2), (2, 3, 2)])
def test_without_its_net_the_prior_is_one_gaussian_of_the_codes_own_scale(path, prediction, shape):
    torch.manual_seed(1)
    rows = 3 + 2 * torch.randn(500, *shape, dtype=torch.float64) * torch.linspace(0.5, 2, shape[-1])
    diffusion = prior(shape, path=path, prediction=prediction, elementwise=True)
    diffusion.prepare(None, Batch(rows))
    torch.nn.init.zeros_(diffusion.net.out.weight)
    mean, deviation = rows.mean(0), rows.std(0, correction=0)
    expected = -Normal(mean, deviation).log_prob(rows[:5]).flatten(1).sum(1)
    assert diffusion.nll(rows[:5]).tolist() == pytest.approx(expected.tolist(), abs=1e-6)
    how = [
        {"sampler": "ddim", "steps": 100},
        {"sampler": "ddpm", "steps": 200},
        {"sampler": "heun", "steps": 30},
    ]
    for options in how:
        drawn = diffusion.sample(600, **options)
        assert torch.allclose((drawn.mean(0) - mean) / deviation, torch.zeros_like(mean), atol=0.2), options
        assert torch.allclose(drawn.std(0) / deviation, torch.ones_like(mean), atol=0.2), options


@pytest.mark.parametrize(("path", "prediction"), [("ddpm", "e"), ("linear", "v")])
def test_the_bound_is_exact_for_the_right_net_and_larger_for_a_wrong_one(path, prediction):
    """Codes are N(0, s^2) in standardised units: the net that adds what is missing to the prediction for N(0, 1)."""
    diffusion = prior((2,), path=path, prediction=prediction)

    class Right(torch.nn.Module):
        def __init__(self, spread):
            super().__init__()
            self.spread = spread

        def forward(self, x, t, labels):
            alpha, sigma = (value[:, None] for value in diffusion.path.level(t))
            x = x * (alpha**2 + sigma**2).sqrt()
            norm = (alpha**2 + sigma**2).sqrt()
            unit = alpha / norm if prediction == "e" else (alpha + sigma) / norm
            found = []
            for variance in (self.spread**2, 1.0):
                data = alpha * variance / (alpha**2 * variance + sigma**2) * x
                noise = sigma / (alpha**2 * variance + sigma**2) * x
                found.append(noise if prediction == "e" else noise - data)
            return (found[0] - found[1]) / unit

    torch.manual_seed(0)
    codes = 0.5 * torch.randn(4000, 2, dtype=torch.float64)
    exact = float(-Normal(0.0, 0.5).log_prob(codes).sum(1).mean())
    bounds = {}
    for spread in (0.5, 0.35, 0.8):
        diffusion.net = Right(spread)
        bounds[spread] = float(diffusion.nll(codes).mean())
    assert bounds[0.5] == pytest.approx(exact, abs=0.03)
    assert min(bounds[0.35], bounds[0.8]) > exact + 0.1


def test_training_on_a_mixture_beats_one_gaussian_and_comes_near_its_entropy():
    torch.manual_seed(0)

    def clouds(n):
        return torch.randint(2, (n, 1)) * 6.0 - 3 + 0.5 * torch.randn(n, 1)

    diffusion = Diffusion(Symbols((1,)), width=32, depth=2)
    diffusion.prepare(None, Batch(clouds(4096)))
    (player,) = diffusion.players()
    optimizer = torch.optim.Adam(player.parameters, lr=4e-3)
    for step in range(400):
        loss = player.loss(Batch(clouds(256)), step)
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
    normal = 0.5 * math.log(2 * math.pi * math.e)
    entropy, gaussian = math.log(2) + normal + math.log(0.5), normal + math.log(math.sqrt(9.25))
    nll = float(diffusion.eval().nll(clouds(2000)).mean())
    assert entropy - 0.05 < nll < entropy + 0.2 < gaussian
    drawn = diffusion.sample(2000, steps=20)
    assert (drawn.abs() - 3).abs().mean() < 0.6  # it is 0.4 for the mixture
    assert (drawn > 0).float().mean() == pytest.approx(0.5, abs=0.2)


def test_bad_options_are_refused_in_a_sentence():
    with pytest.raises(RequestError, match="trained with 1000 steps"):
        prior().sample(2, steps=1001)
    with pytest.raises(RequestError, match="steps"):
        prior().sample(2, steps=0)
    with pytest.raises(RequestError, match="eta"):
        prior().sample(2, sampler="heun", eta=0.5)
    with pytest.raises(RequestError, match="nothing of the data is left"):
        prior(path="cosine", prediction="e")
    for wrong in ({"path": "sub-vp"}, {"prediction": "score"}, {"times": "normal"}):
        with pytest.raises(RequestError, match=next(iter(wrong))):
            prior(**wrong)
    with pytest.raises(RequestError, match="guidance"):
        prior().sample(2, guidance=2.0)
    assert prior(path="edm").times == "lognormal"
