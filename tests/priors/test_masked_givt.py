"""The masked variant of GIVT: densities in every order by integration, its loss by a loop, its sampler's chain."""

import itertools
import math

import pytest
import torch

from narrows.core import Batch, Symbols
from narrows.core.check import RequestError
from narrows.priors.masked_givt import MaskedGIVT


def tiny(shape=(4, 2), **options):
    torch.manual_seed(0)
    prior = MaskedGIVT(Symbols(shape), width=8, depth=2, heads=2, **{"components": 3, **options})
    for p in prior.parameters():
        torch.nn.init.normal_(p, std=0.5)
    prior.shift.normal_()
    prior.scale.uniform_(0.5, 2)
    return prior.double().eval()


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_in_every_order_the_density_integrates_to_one(order):
    prior = tiny((2, 1), components=2)
    axis = torch.linspace(-20, 20, 161, dtype=torch.double)
    points = torch.cartesian_prod(axis, axis)[..., None]
    with torch.no_grad():
        total = (-prior.ordered_nll(points, torch.tensor(order))).exp().sum() * (axis[1] - axis[0]) ** 2
    assert float(total) == pytest.approx(1, abs=5e-3)


def test_the_ordered_density_is_that_of_a_loop_over_tokens():
    prior = tiny()
    x, order = torch.randn(3, 4, 2, dtype=torch.double), (2, 0, 3, 1)
    total, masked = torch.zeros(3, dtype=torch.double), torch.ones(3, 4, dtype=torch.bool)
    tokens = (x - prior.shift.view(4, 2)) / prior.scale.view(4, 2)
    for place in order:
        h = prior.hidden(tokens, masked)[:, place]
        total -= prior.head(h).log_prob(tokens[:, place]) - prior.scale.view(4, 2)[place].log().sum()
        masked[:, place] = False
    assert torch.allclose(prior.ordered_nll(x, torch.tensor(order)), total)


def test_a_masked_token_is_not_seen_and_another_is():
    prior = tiny()
    x = torch.randn(5, 4, 2, dtype=torch.double)
    masked = torch.tensor([[True, False, True, False]]).expand(5, -1)
    for place, seen in ((0, False), (1, True)):
        other = x.clone()
        other[:, place] += 1
        same = torch.allclose(prior.hidden(x, masked)[:, 2], prior.hidden(other, masked)[:, 2])
        assert same is not seen


def test_the_loss_is_the_mean_over_masked_tokens(monkeypatch):
    prior = tiny()
    z = torch.randn(3, 4, 2, dtype=torch.double)
    masked = torch.tensor([[1, 0, 1, 1], [0, 0, 1, 0], [1, 1, 1, 1]], dtype=torch.bool)
    monkeypatch.setattr(prior, "masks", lambda tokens: masked)
    tokens = prior.arrange(z)
    terms = [
        -prior.head(prior.hidden(tokens, masked)[b, place]).log_prob(tokens[b, place])
        for b, place in itertools.product(range(3), range(4))
        if masked[b, place]
    ]
    assert float(prior.loss(Batch(z)).total) == pytest.approx(float(torch.stack(terms).mean()))


def test_with_as_many_steps_as_tokens_draws_have_the_distribution_of_a_chain():
    """Two tokens of independent unit Gaussians at given means: whatever the order, so are the draws."""
    prior = tiny((2, 1), components=1)
    torch.nn.init.zeros_(prior.head.out.weight)
    prior.head.out.bias.data = torch.tensor([0.0, 0.7, math.log(math.e - 1)], dtype=torch.double)
    x = prior.sample(20_000, steps=2, noise=1e6)  # kept at random, not by their density
    expected = prior.shift + prior.scale * 0.7
    assert torch.allclose(x.mean(0).flatten(), expected, atol=0.06)
    assert torch.allclose(x.std(0).flatten(), prior.scale, rtol=0.03)


def test_bad_arguments_are_refused():
    with pytest.raises(RequestError, match="masked-givt"):
        MaskedGIVT(Symbols((9,), codes=4))
    for option in ({"temperature": 0.0}, {"steps": 0}, {"noise": -1.0}, {"guidance": 2.0}):
        with pytest.raises(RequestError, match=next(iter(option))):
            tiny().sample(2, **option)
