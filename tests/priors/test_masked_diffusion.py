"""Masked diffusion: the weights of its bound by quadrature, its value by enumeration, and its sampler's law."""

import itertools
import math

import pytest
import torch

from narrows.core import Batch, Symbols
from narrows.core.check import RequestError
from narrows.priors.masked_diffusion import MaskedDiffusion


def tiny(shape=(3,), codes=3, **options):
    torch.manual_seed(0)
    prior = MaskedDiffusion(Symbols(shape, codes), width=8, depth=2, heads=2, **options)
    for p in prior.parameters():  # far from the near-uniform start
        torch.nn.init.normal_(p, std=0.7)
    return prior.double().eval()


def everything(codes=3, tokens=3):
    return torch.tensor(list(itertools.product(range(codes), repeat=tokens)))


def by_orders(prior, rows):
    """-log p of rows in each order of the places, (L!, B)."""
    orders = itertools.permutations(range(prior.tokens))
    return torch.stack([prior.ordered_nll(rows, torch.tensor(order)) for order in orders])


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_over_time_a_mask_of_m_places_weighs_as_much_as_its_share_of_orders(schedule):
    """The integral of the weight times P(M) is 1 / (m (L choose m)) for any schedule."""
    prior = tiny((5,), schedule=schedule)
    t = torch.linspace(0, 1, 2_000_001, dtype=torch.float64)
    hidden, weight = prior.corruption(t)
    for m in range(1, 6):
        integral = torch.trapezoid(weight * hidden**m * (1 - hidden) ** (5 - m), t)
        assert float(integral) == pytest.approx(1 / (m * math.comb(5, m)), abs=2e-4)
    assert float(hidden[0]) == pytest.approx(1e-4)
    assert float(hidden[-1]) == 1


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_the_bound_is_the_mean_over_orders_for_both_schedules(schedule):
    prior, row = tiny(schedule=schedule), torch.tensor([[0, 2, 1]])
    wanted = float(by_orders(prior, row).mean())
    with torch.no_grad():
        found = prior.bound(row.expand(60_000, -1))
    error = float(found.std()) / math.sqrt(len(found))
    assert float(found.mean()) == pytest.approx(wanted, abs=4 * error)
    assert error < 0.02 * wanted


def test_the_loss_is_the_bound_and_leaves_the_likelihood_of_the_mixture_below():
    prior, rows = tiny(), everything()
    orders = by_orders(prior, rows)
    mixture = -(orders.neg().logsumexp(0) - math.log(len(orders)))
    assert float(mixture.neg().exp().sum()) == pytest.approx(1, abs=1e-10)
    assert bool((orders.mean(0) >= mixture).all())
    torch.manual_seed(3)
    loss = prior.loss(Batch(rows))
    torch.manual_seed(3)
    assert float(loss.total) == pytest.approx(float(prior.bound(rows).mean()))
    assert set(loss.terms) == {"nll"}


def test_with_many_steps_draws_follow_the_mixture_over_orders():
    prior, rows = tiny(), everything()
    p = by_orders(prior, rows).neg().exp().mean(0).detach()
    drawn = prior.sample(10_000, steps=60)
    share = (drawn * torch.tensor([9, 3, 1])).sum(-1).bincount(minlength=27) / len(drawn)
    assert (share - p).abs().sum() < 0.08
    assert p.max() > 2 / 27


def test_in_one_step_all_places_are_drawn_apart():
    prior = tiny()
    with torch.no_grad():
        alone = prior(torch.zeros(1, 3, dtype=torch.long), torch.ones(1, 3, dtype=torch.bool))[0].softmax(-1)
    drawn = prior.sample(30_000, steps=1)
    for place in range(3):
        assert torch.allclose(
            drawn[:, place].bincount(minlength=3) / 30_000, alone[place].float(), atol=0.015
        )
    together = (drawn * torch.tensor([9, 3, 1])).sum(-1).bincount(minlength=27) / 30_000
    product = torch.einsum("a,b,c->abc", *alone).flatten()
    assert (together - product).abs().sum() < 0.05


def test_training_finds_the_sure_and_leaves_the_rest_uniform():
    """Row = (a, a, b, b) with a, b uniform over 4: -log p is 2 log 4 in any order."""
    torch.manual_seed(0)
    prior = MaskedDiffusion(Symbols((4,), 4), width=16, depth=2, heads=2)
    (player,) = prior.players()
    optimizer = torch.optim.Adam(player.parameters, lr=1e-2)
    for step in range(300):
        loss = player.loss(Batch(torch.randint(4, (128, 2)).repeat_interleave(2, -1)), step, None)
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
    nll = prior.eval().nll(torch.randint(4, (500, 2)).repeat_interleave(2, -1)).mean()
    assert float(nll.detach()) == pytest.approx(2 * math.log(4), abs=0.15)
    drawn = prior.sample(200, steps=32)
    assert (drawn[:, ::2] == drawn[:, 1::2]).float().mean() > 0.9


def test_labels_tell_and_wrong_options_are_refused():
    prior = tiny((2, 2), labels=True, classes=2)
    rows = torch.randint(3, (4, 2, 2))
    one, other = ({"labels": torch.eye(2)[[i] * 4]} for i in (0, 1))
    assert not torch.allclose(prior.nll(rows, one), prior.nll(rows, other))
    assert prior.sample(3, {"labels": torch.eye(2)[[0, 1, 0]]}, guidance=2.0).shape == (3, 2, 2)
    none = {"labels": torch.zeros(4, 2)}
    assert torch.equal(prior.nll(rows), prior.nll(rows, none))
    with pytest.raises(RequestError, match="labels"):
        prior.train().nll(rows)
    prior.eval()
    with pytest.raises(RequestError, match="schedule"):
        tiny(schedule="sudden")
    with pytest.raises(RequestError, match="steps"):
        tiny().sample(2, steps=0)
    with pytest.raises(RequestError, match="flow-matching"):
        MaskedDiffusion(Symbols((4,)))
