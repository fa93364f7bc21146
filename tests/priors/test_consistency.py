"""Consistency models against a loop over examples, and against Gaussians, whose map from noise to data is known."""

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from narrows.core import Batch, Symbols
from narrows.core.check import RequestError
from narrows.priors.consistency import Consistency
from narrows.priors.vct import VCT

BOTH = pytest.mark.parametrize("kind", [Consistency, VCT])


def prior(kind=Consistency, shape=(2,), **options):
    torch.manual_seed(0)
    made = kind(Symbols(shape), width=16, depth=1, heads=2, **options).double().eval()
    torch.nn.init.normal_(made.net.out.weight, std=0.3)
    return made


def image(made, x, sigma):
    """f of one state at a level of noise, in the notation of the paper: skip x + out net(in x)."""
    kept = 1 - sigma / made.path.largest
    inner = 1 / math.sqrt(kept**2 + sigma**2)
    t = torch.tensor([(sigma / made.path.largest) ** (1 / 3)], dtype=torch.float64)
    return kept * inner**2 * x - sigma * inner * made.net(inner * x[None], t)[0]


def test_the_loss_is_the_weighted_huber_distance_of_two_states_with_the_same_noise():
    made = prior(stage_steps=10, stages=3, huber=0.3, largest=8.0)
    z = torch.randn(6, 2, dtype=torch.float64)
    for step, stage in ((0, 0), (9, 0), (10, 1), (29, 2), (500, 2)):
        torch.manual_seed(4)
        found = float(made.loss(Batch(z), step).total)
        torch.manual_seed(4)
        t, noise = made.times_and_noise(z)
        total = 0.0
        for i in range(6):
            late = 8 * float(t[i]) ** 3
            early = max(0.0, late * (1 - (1 + 8 / (1 + math.exp(late))) / 2 ** (stage + 1)))
            states = [(1 - s / 8) * z[i] + s * noise[i] for s in (late, early)]
            apart = image(made, states[0], late) - image(made, states[1], early)
            c = 0.3 * math.sqrt(2)
            total += (math.sqrt(float(apart.square().sum()) + c * c) - c) / (late - early) / 6
        assert found == pytest.approx(total, rel=1e-6)


@BOTH
@pytest.mark.parametrize("shape", [(3,), (4, 2), (2, 3, 2)])
def test_without_noise_codes_are_their_own_images(kind, shape):
    made, x = prior(kind, shape), torch.randn(5, *shape, dtype=torch.float64)
    assert torch.equal(made.predict(x, torch.zeros(5, dtype=torch.float64)), x)
    assert made.sample(3, steps=3).shape == (3, *shape)


class Gaussian(torch.nn.Module):
    """The net with which f is exact for data from N(0, s^2): s x / sqrt(alpha^2 s^2 + sigma^2)."""

    def __init__(self, made, spread):
        super().__init__()
        self.units, self.level = made._units, made.path.level
        self.spread = torch.nn.Parameter(torch.tensor(spread, dtype=torch.float64))

    def forward(self, x, t, labels=None):
        level = self.level(t).like(x)
        norm, plain, scale = self.units(level)
        state = x / norm
        exact = self.spread * state / (level.alpha**2 * self.spread**2 + level.sigma**2).sqrt()
        return (exact - plain * state) / scale


def test_training_on_a_gaussian_is_drawn_to_its_exact_map():
    made = prior(huber=100.0, stages=8, stage_steps=1)
    torch.manual_seed(1)
    batch, slopes = Batch(0.6 * torch.randn(20_000, 2, dtype=torch.float64)), {}
    for spread in (0.4, 0.6, 0.9):
        made.net = Gaussian(made, spread)
        torch.manual_seed(2)
        made.loss(batch, step=100).total.backward()
        slopes[spread] = float(made.net.spread.grad)
    assert slopes[0.4] < 0 < slopes[0.9]
    assert abs(slopes[0.6]) < 0.1 * min(-slopes[0.4], slopes[0.9])


def test_draws_with_the_exact_map_have_the_distribution_of_the_data():
    made = prior()
    made.net = Gaussian(made, 0.6)
    made.shift.fill_(3.0)
    made.scale.fill_(2.0)
    for steps in (1, 2, 4):
        drawn = made.sample(20_000, steps=steps)
        assert drawn.mean(0).tolist() == pytest.approx([3.0, 3.0], abs=0.05)
        assert drawn.std(0).tolist() == pytest.approx([1.2, 1.2], abs=0.05)


@BOTH
def test_a_few_steps_of_training_give_draws_the_spread_of_the_data(kind):
    torch.manual_seed(0)
    options = {"rate": 1.0} if kind is VCT else {}
    made, codes = (
        kind(Symbols((1,)), width=16, depth=1, stage_steps=20, **options),
        3 + 2 * torch.randn(2000, 1),
    )
    made.prepare(None, Batch(codes))
    assert float(made.sample(500).std()) < 0.2
    (player,) = made.players()
    optimizer = torch.optim.Adam(player.parameters, lr=1e-2)
    for step in range(100):
        loss = player.loss(Batch(codes[torch.randint(2000, (64,))]), step)
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
    drawn = made.eval().sample(2000)
    assert float(drawn.mean()) == pytest.approx(3.0, abs=1.0)
    assert 0.6 < float(drawn.std()) < 2.6  # 2 after longer training


def test_the_coupling_is_that_of_the_encoder_and_its_divergence_is_weighted_like_the_end_of_the_path():
    made = prior(VCT, (3,), rate=0.7, stage_steps=5, stages=2)
    torch.nn.init.normal_(made.encoder.out.weight, std=0.5)
    z = torch.randn(6, 3, dtype=torch.float64)
    out = made.encoder(z, torch.zeros(6, dtype=torch.float64))
    mean, scale = out[:, :3], (0.5 * out[:, 3:]).exp()
    expected = kl_divergence(Normal(mean, scale), Normal(0.0, 1.0)).sum(1).mean()
    for step, share in ((0, 2), (5, 4)):
        torch.manual_seed(4)
        found = made.loss(Batch(z), step)
        torch.manual_seed(4)
        t, noise = made.times_and_noise(z)
        error = made.difference(z, mean + scale * noise, t, None, step).mean()
        gap = 10 * (1 + 8 / (1 + math.exp(10))) / share
        assert float(found.terms["kl"]) == pytest.approx(float(expected))
        assert float(found.total) == pytest.approx(float(error + 0.7 / gap * expected))


def test_new_noise_in_sampling_is_drawn_by_the_encoder_of_the_estimate():
    made, seen = prior(VCT, (2,)), []
    original = made.coupling
    made.coupling = lambda z, labels=None: seen.append(z) or original(z, labels)
    torch.manual_seed(3)
    drawn = made.sample(4, steps=2)
    torch.manual_seed(3)
    first = made.sample(4)
    assert torch.allclose(seen[0], made.standard(first))
    noise = original(seen[0]).rsample()
    level = made.path.level(torch.tensor(0.5))
    again = made.predict(
        level.alpha * seen[0] + level.sigma * noise, torch.full((4,), 0.5, dtype=torch.float64)
    )
    assert torch.allclose(drawn, made.own(again))


def test_the_encoder_begins_near_independent_noise():
    q = VCT(Symbols((4,)), width=16, depth=1).coupling(torch.randn(50, 4))
    assert float(kl_divergence(q.base_dist, Normal(0.0, 1.0)).mean()) < 0.01


def test_bad_options_are_refused_in_a_sentence():
    for kind in (Consistency, VCT):
        for wrong in ({"largest": 0.5}, {"stages": 0}, {"stage_steps": 0}, {"huber": 0.0}):
            with pytest.raises(RequestError, match=next(iter(wrong))):
                prior(kind, **wrong)
        with pytest.raises(RequestError, match="steps"):
            prior(kind).sample(2, steps=0)
        with pytest.raises(RequestError, match="guidance"):
            prior(kind).sample(2, guidance=2.0)
    with pytest.raises(RequestError, match="rate"):
        prior(VCT, rate=-1.0)
