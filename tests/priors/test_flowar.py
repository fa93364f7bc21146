"""FlowAR: means of areas, attention from coarse to fine, its loss by a loop, cached draws, Gaussian codes."""

import pytest
import torch

from narrows.core import Batch, Symbols, TokenLayout
from narrows.core.check import RequestError
from narrows.priors.flowar import FlowAR, doubled
from narrows.priors.labels import guided

GRID = Symbols((9, 2), placed=TokenLayout(((3, 3),)))


def tiny(symbols=GRID, **options):
    torch.manual_seed(0)
    prior = FlowAR(symbols, width=8, depth=2, heads=2, **options)
    for p in prior.parameters():
        torch.nn.init.normal_(p, std=0.4)
    prior.spread.uniform_(0.5, 2)
    return prior.double().eval()


def test_coarse_grids_are_means_of_areas():
    prior = FlowAR(Symbols((49, 3), placed=TokenLayout(((7, 7),))), width=8, depth=1, heads=2)
    assert prior.layout.grids == ((1, 1), (2, 2), (4, 4), (7, 7))
    x = torch.randn(2, 49, 3)
    one, two, four, seven = prior.means(x).split([1, 4, 16, 49], 1)
    image = x.view(2, 7, 7, 3)
    assert torch.allclose(one[:, 0], x.mean(1), atol=1e-6)
    assert torch.allclose(
        two[:, 1], image[:, :4, 3:].mean((1, 2)), atol=1e-6
    )  # areas of 4 overlap in one row
    assert torch.allclose(
        four[:, 1], image[:, :2, 1:4].mean((1, 2)), atol=1e-6
    )  # columns floor(7/4) to ceil(14/4)
    assert torch.equal(seven, x)


def test_each_grid_is_scaled_to_unit_deviation():
    torch.manual_seed(0)
    prior = FlowAR(GRID, width=8, depth=1, heads=2)
    codes = 3 + 2 * torch.randn(500, 9, 2) + torch.randn(500, 1, 2)
    prior.prepare(None, Batch(codes))
    found = prior.means(prior.arrange(codes)) / prior.spread[prior.level]
    for part in prior.layout.slices():
        assert torch.allclose(found[:, part].std((0, 1), correction=0), torch.ones(2), atol=0.02)


def test_a_place_is_read_from_coarser_grids_alone():
    prior = tiny()
    x = torch.randn(2, 14, 2, dtype=torch.double)
    h = prior(x)
    for level, part in enumerate(prior.layout.slices()):
        other = x.clone()
        other[:, part] += 1
        changed = (prior(other) - h).abs().amax((0, 2)) > 1e-9
        assert not changed[: part.stop].any()
        assert changed[part.stop :].all() or level == 2


def test_the_loss_is_the_mean_over_grids_one_by_one(monkeypatch):
    """With times and noise that are known: every grid by itself, without a mask."""
    prior = tiny()
    batch = Batch(torch.randn(2, 9, 2, dtype=torch.double))
    draws = iter(torch.randn(2, 2, 14, 2, dtype=torch.double).unbind())
    used = []

    def fixed(like):
        used.append(next(draws))
        return used[-1]

    monkeypatch.setattr(torch, "randn_like", fixed)
    monkeypatch.setattr(torch, "rand", lambda *shape, **_: torch.full(shape, 0.25, dtype=torch.double))
    found = float(prior.loss(batch).total)
    jitter, noise = used
    image, total = batch.x.mT.reshape(2, 2, 3, 3), 0.0
    two = torch.stack([image[..., i : i + 2, j : j + 2].mean((-1, -2)) for i in (0, 1) for j in (0, 1)], 1)
    grids = [batch.x.mean(1, keepdim=True), two, batch.x]
    x = torch.cat([grid / prior.spread[k] for k, grid in enumerate(grids)], 1)
    h = prior(x + 0.1 * jitter)
    for b in range(2):
        for k, part in enumerate(prior.layout.slices()):
            t = (0.25 + (3 * b + k) / 6) % 1
            state = ((1 - t) * x[b, part] + t * noise[b, part])[None]
            power = t**2 + (1 - t) ** 2
            times = torch.full((1, part.stop - part.start), t, dtype=torch.double)
            out = prior.net(state / power**0.5, times, h[b, part][None], places=part)
            v = (2 * t - 1) / power * state + out / power**0.5
            total += float((v[0] - (noise[b, part] - x[b, part])).square().sum())
    assert found == pytest.approx(total / (2 * 14 * 2))


@pytest.mark.parametrize("guidance", [1.0, 2.5])
def test_cached_draws_are_those_of_full_passes(guidance):
    prior = tiny(labels=True, classes=2)
    labels = torch.eye(2, dtype=torch.double)[[0, 1, 1]]
    torch.manual_seed(5)
    found = prior.sample(3, {"labels": labels}, steps=4, sampler="euler", guidance=guidance)
    torch.manual_seed(5)
    x = torch.zeros(3, 14, 2, dtype=torch.double)
    for part in prior.layout.slices():
        hs = [prior(x, told)[:, part] for told in (labels, 0 * labels)]
        state = torch.randn(3, part.stop - part.start, 2, dtype=torch.double)
        for k in range(4):
            t = torch.full(state.shape[:2], 1 - k / 4, dtype=torch.double)
            both = torch.cat([prior.velocity(state, t, h, places=part) for h in hs])
            state = state - 0.25 * (guided(both, guidance) if guidance != 1 else both[:3])
        x[:, part] = state
    assert torch.allclose(found, prior.restore(x[:, 5:] * prior.spread[-1]), atol=1e-9)


def test_before_training_tokens_are_independent_gaussians():
    prior = tiny()
    torch.nn.init.zeros_(prior.net.out.weight)
    torch.nn.init.zeros_(prior.net.out.bias)
    prior.shift.uniform_(-3, 3)
    x = prior.sample(1000, steps=2)
    assert torch.allclose(x.mean(0).flatten(), prior.shift, atol=0.25)
    expected = prior.scale * prior.spread[-1].repeat(9)
    assert torch.allclose(torch.cov(x.flatten(1).T), torch.diag(expected**2), atol=0.5)


class Same(torch.nn.Module):
    """Blocks that change nothing."""

    blocks = ()

    def forward(self, u, *_):
        return u


def test_with_the_exact_velocities_draws_have_the_distribution_of_gaussian_codes(monkeypatch):
    """z_l = u + e_l with variances 4 and 1: their mean is N(0, 4.5), and their difference N(0, 2)."""
    torch.manual_seed(0)
    codes = 2 * torch.randn(5000, 1, 1) + torch.randn(5000, 2, 1)
    prior = FlowAR(Symbols((2, 1)), width=2, depth=1, heads=1)
    prior.prepare(None, Batch(codes))
    prior.blocks = Same()
    for p in prior.parameters():
        torch.nn.init.zeros_(p)
    torch.nn.init.ones_(prior.embed.weight)  # h is the mean of the two tokens

    def velocity(x, t, h, places, **_):
        coarse, fine = prior.spread[:, 0]
        t, mean = t[..., None], h[..., :1] * coarse / fine
        variance = torch.full((2, 1), 1.0)
        if places.start:
            variance = torch.tensor([[1e-6], [0.2 / fine**2]])  # of sum and difference, over sqrt(2)
            turn = torch.tensor([[1.0, 1.0], [1.0, -1.0]]) / 2**0.5
            x, mean = turn @ x, turn @ mean
        rest = (x - (1 - t) * mean) / ((1 - t) ** 2 * variance[: x.shape[1]] + t**2)
        v = t * rest - mean - (1 - t) * variance[: x.shape[1]] * rest
        return turn @ v if places.start else v

    monkeypatch.setattr(prior, "velocity", velocity)
    x = prior.sample(5000, steps=40)[..., 0]
    assert torch.allclose(torch.cov(x.T), torch.tensor([[5.0, 4.0], [4.0, 5.0]]), atol=0.35)


def test_grids_without_a_plane_and_bad_arguments():
    assert FlowAR(Symbols((1, 2)), width=8, depth=1, heads=2).sample(2, steps=1).shape == (2, 1, 2)
    assert FlowAR(GRID, scales=1, width=8, depth=1, heads=2).layout.grids == ((3, 3),)
    assert doubled((2, 5)).grids == ((1, 1), (2, 2), (2, 4), (2, 5))
    with pytest.raises(RequestError, match="scales"):
        FlowAR(GRID, scales=4)
    with pytest.raises(RequestError, match="vector"):
        FlowAR(Symbols((9,)))
    with pytest.raises(RequestError, match="single grid"):
        FlowAR(Symbols((5, 2), placed=TokenLayout(((1, 1), (2, 2)))))
    with pytest.raises(RequestError, match="sampler"):
        tiny().sample(2, sampler="leap")
