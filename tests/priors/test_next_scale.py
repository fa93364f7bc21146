"""Next-scale prediction: who may see whom, probabilities that sum to 1, and draws that follow them."""

from dataclasses import replace
from itertools import product

import pytest
import torch

from narrows.core import Symbols, TokenLayout
from narrows.core.check import RequestError
from narrows.priors.next_scale import NextScale
from narrows.testing import check_prior

SMALL = Symbols((5,), 2, TokenLayout(((1, 1), (2, 2))))
LARGE = Symbols((29,), 6, TokenLayout(((2, 2), (3, 3), (4, 4))))
OPTIONS = [{}, {"refiner": 1}, {"attention": "within-scale"}, {"refiner": 2, "attention": "within-scale"}]


def made(symbols, **options):
    torch.manual_seed(0)
    prior = NextScale(symbols, width=16, depth=2, heads=2, **options).eval()
    for parameter in prior.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return prior


@pytest.mark.parametrize("options", OPTIONS)
def test_an_index_depends_on_coarser_grids_alone(options):
    prior, slices = made(LARGE, **options), LARGE.layout.slices()
    x = torch.randint(6, (3, 29))
    logits = prior(x)
    for level, part in enumerate(slices):
        other = x.clone()
        other[:, part] = (other[:, part] + 1) % 6
        changed = (prior(other) - logits).abs().amax((0, 2)) > 1e-6
        assert not changed[: part.stop].any()
        if level < 2:
            assert changed[part.stop :].all()


@pytest.mark.parametrize("options", OPTIONS)
def test_probabilities_sum_to_one_and_draws_follow_them(options):
    options = {**options, "refiner": min(1, options.get("refiner", 0))}
    prior = made(SMALL, **options)
    rows = torch.tensor(list(product(range(2), repeat=5)))
    probability = (-prior.nll(rows)).exp()
    assert float(probability.sum()) == pytest.approx(1, abs=1e-5)
    torch.manual_seed(1)
    drawn = prior.sample(20_000)
    found = torch.bincount((drawn * torch.tensor([16, 8, 4, 2, 1])).sum(1), minlength=32) / 20_000
    assert (found - probability).abs().max() < 5 * (probability / 20_000).sqrt().max()


@pytest.mark.parametrize("options", OPTIONS)
def test_cached_passes_give_the_logits_of_one_pass(options):
    """The likeliest draws, one pass a grid, are those that the whole transformer finds the likeliest."""
    prior = made(LARGE, **options)
    drawn = prior.sample(4, top_k=1)
    assert torch.equal(prior(drawn).argmax(-1), drawn)


def test_within_a_scale_only_the_recurrence_carries_what_is_coarser():
    """By hand: the sum of embeddings, resized by nearest values and weighted by the recurrence, is all that enters."""
    prior = made(LARGE, attention="within-scale")
    net, x = prior.nets[0], torch.randint(6, (2, 29))
    coarse = net.embed(x[:, :4]).view(2, 2, 2, 16)
    middle = net.embed(x[:, 4:13]).view(2, 3, 3, 16)
    i = [0, 0, 1]
    middle = middle + net.carry * coarse[:, i][:, :, i]
    j = [0, 0, 1, 2]
    fine = middle[:, j][:, :, j].reshape(2, 16, 16) + net.place[13:] + net.start
    assert torch.allclose(net.head(net.blocks(fine)), prior(x)[:, 13:], atol=1e-5)


@pytest.mark.parametrize("options", OPTIONS[1:3])
def test_it_has_the_properties_of_priors(options):
    check_prior(NextScale, replace(SMALL, codes=3), width=8, depth=1, heads=2, **options)


def test_a_single_grid_or_too_many_refined_grids_are_refused():
    with pytest.raises(RequestError, match="single grid"):
        NextScale(Symbols((9,), 4))
    with pytest.raises(RequestError, match="refiner"):
        NextScale(SMALL, refiner=2)
