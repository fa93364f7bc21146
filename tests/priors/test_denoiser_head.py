"""The denoiser head: its loss by a loop, exact draws of Gaussian tokens, and cached draws."""

import pytest
import torch

from narrows.core import Batch, Symbols
from narrows.core.check import RequestError
from narrows.priors.denoiser_head import DenoiserHead
from narrows.priors.heads.denoiser import Denoiser
from narrows.priors.labels import guided


def tiny(shape=(3, 2), **options):
    torch.manual_seed(0)
    prior = DenoiserHead(Symbols(shape), width=8, depth=2, heads=2, **options)
    for p in prior.parameters():
        torch.nn.init.normal_(p, std=0.4)
    return prior.double().eval()


def test_the_loss_is_the_mean_over_draws_token_by_token(monkeypatch):
    """With times and noise that are known, the squared error of each token's velocity, in a loop."""
    torch.manual_seed(0)
    head = Denoiser(5, channels=2, hidden=8, depth=1, draws=3).double()
    torch.nn.init.normal_(head.net.out.weight)
    h, x = torch.randn(2, 4, 5, dtype=torch.double), torch.randn(2, 4, 2, dtype=torch.double)
    noise = torch.randn(24, 2, dtype=torch.double)
    monkeypatch.setattr(torch, "rand", lambda *shape, **_: torch.full(shape, 0.25, dtype=torch.double))
    monkeypatch.setattr(torch, "randperm", lambda n, **_: torch.arange(n))
    monkeypatch.setattr(torch, "randn_like", lambda like: noise)
    found = head.loss(h, x)
    for b in range(2):
        for place in range(4):
            errors = []
            for k in range(3):
                i = (k * 2 + b) * 4 + place
                t = torch.tensor([(0.25 + i / 24) % 1], dtype=torch.double)
                state = ((1 - t) * x[b, place] + t * noise[i])[None]
                base = (2 * t - 1) / (t**2 + (1 - t) ** 2)
                v = base * state + head.net(state, t, h[b, place][None])
                errors.append((v[0] - (noise[i] - x[b, place])).square().mean())
            assert torch.allclose(found[b, place], torch.stack(errors).mean())


def test_before_training_draws_are_standard_normal():
    """The net's output is zero: what is left is the velocity of N(0, I), whose flow keeps N(0, I)."""
    torch.manual_seed(0)
    head = Denoiser(5, channels=2, hidden=8, depth=1)
    torch.nn.init.zeros_(head.net.out.weight)
    x = head.draw(torch.randn(10_000, 5), steps=10).detach()
    assert torch.allclose(x.mean(0), torch.zeros(2), atol=0.03)
    assert torch.allclose(torch.cov(x.T), torch.eye(2), atol=0.04)


@pytest.mark.parametrize("guidance", [1.0, 2.5])
def test_cached_draws_are_those_of_full_passes(guidance):
    prior = tiny((4, 2), labels=True, classes=2)
    labels = torch.eye(2, dtype=torch.double)[[0, 1, 1]]
    torch.manual_seed(5)
    found = prior.sample(3, {"labels": labels}, steps=4, sampler="euler", guidance=guidance)
    torch.manual_seed(5)
    x = torch.zeros(3, 4, 2, dtype=torch.double)
    for place in range(4):
        hs = [prior.net(x, told)[:, place] for told in (labels, 0 * labels)]
        state = torch.randn(3, 2, dtype=torch.double)
        for k in range(4):
            t = torch.full((3,), 1 - k / 4, dtype=torch.double)
            both = torch.cat([prior.head.velocity(state, t, h) for h in hs])
            state = state - 0.25 * (guided(both, guidance) if guidance != 1 else both[:3])
        x[:, place] = state
    assert torch.allclose(found, prior.restore(x), atol=1e-5)


def test_training_draws_a_chain_of_two_modes():
    """x_1 = +-1 evenly, x_2 = -x_1, both with deviation .1: signs are opposite, and both modes are drawn."""
    torch.manual_seed(0)

    def codes(n):
        first = 2.0 * torch.randint(2, (n, 1)) - 1 + 0.1 * torch.randn(n, 1)
        return torch.cat([first, -first + 0.1 * torch.randn(n, 1)], 1)

    prior = DenoiserHead(Symbols((2,)), width=24, depth=1, heads=2)
    prior.prepare(None, Batch(codes(1000)))
    optimizer = torch.optim.Adam(prior.parameters(), lr=1e-2)
    for step in range(120):
        loss = prior.loss(Batch(codes(128)), step).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    x = prior.eval().sample(1000, steps=8)
    assert float((x[:, 0] > 0).double().mean()) == pytest.approx(0.5, abs=0.12)
    assert float((x[:, 0] * x[:, 1] < 0).double().mean()) > 0.9
    assert float((x[:, 0].abs() - 1).abs().mean()) < 0.25


def test_bad_arguments_are_refused():
    with pytest.raises(RequestError, match="denoiser-head"):
        DenoiserHead(Symbols((9,), codes=4))
    with pytest.raises(RequestError, match="times"):
        DenoiserHead(Symbols((9, 4)), times=0)
    with pytest.raises(RequestError, match="sampler"):
        tiny().sample(2, sampler="leap")
    with pytest.raises(RequestError, match="steps"):
        tiny().sample(2, steps=0)
    assert not tiny().has_nll
