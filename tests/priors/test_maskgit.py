"""MaskGIT: a distribution for every order of filling in, by enumeration; its bound; its sampler's own chain."""

import itertools
import math

import pytest
import torch

from narrows.core import Batch, Symbols
from narrows.core.check import RequestError
from narrows.priors.maskgit import MaskGIT


def tiny(shape=(4,), codes=3, **options):
    torch.manual_seed(0)
    prior = MaskGIT(Symbols(shape, codes), width=8, depth=2, heads=2, **options)
    for p in prior.parameters():  # far from the near-uniform start
        torch.nn.init.normal_(p, std=0.7)
    return prior.double().eval()


def everything(codes=3, tokens=4):
    return torch.tensor(list(itertools.product(range(codes), repeat=tokens)))


@torch.no_grad()
def chain(prior, row, order):
    """-log p of one row, filled in one by one in an order: a loop over the places."""
    total, masked = 0.0, torch.ones(1, len(row), dtype=torch.bool)
    for place in order:
        logits = prior(row[None], masked)
        total -= float(logits[0, place].log_softmax(-1)[row[place]])
        masked[0, place] = False
    return total


def test_a_masked_index_is_not_seen_and_a_settled_one_is():
    prior = tiny()
    x, masked = torch.randint(3, (5, 4)), torch.tensor([[True, False, True, False]]).expand(5, -1)
    hidden, shown = x.clone(), x.clone()
    hidden[:, 0] = (x[:, 0] + 1) % 3
    shown[:, 1] = (x[:, 1] + 1) % 3
    assert torch.equal(prior(x, masked), prior(hidden, masked))
    assert not torch.allclose(prior(x, masked)[:, 2], prior(shown, masked)[:, 2])


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (2, 0, 3, 1)])
def test_in_every_order_all_rows_sum_to_one(order):
    prior = tiny()
    total = (-prior.ordered_nll(everything(), torch.tensor(order))).exp().sum().detach()
    assert float(total) == pytest.approx(1, abs=1e-10)


def test_the_ordered_likelihood_is_the_loop_and_rows_may_have_orders_of_their_own():
    prior = tiny()
    rows = torch.randint(3, (6, 4))
    orders = torch.stack([torch.randperm(4) for _ in rows])
    found = prior.ordered_nll(rows, orders)
    assert found.tolist() == pytest.approx([chain(prior, *pair) for pair in zip(rows, orders, strict=True)])


def test_the_mean_over_orders_is_the_sum_over_sizes_and_bounds_the_mixture():
    """All 6 orders of 3 places against all 7 masks; and Jensen, for every row."""
    prior, rows = tiny((3,)), everything(tokens=3)
    by_order = torch.stack(
        [prior.ordered_nll(rows, torch.tensor(o)) for o in itertools.permutations(range(3))]
    )
    by_size = torch.zeros(len(rows), dtype=torch.float64)
    for size in (1, 2, 3):
        sets = list(itertools.combinations(range(3), size))
        for places in sets:
            masked = torch.zeros(len(rows), 3, dtype=torch.bool)
            masked[:, list(places)] = True
            logits = prior(rows, masked).log_softmax(-1).gather(-1, rows[..., None])[..., 0]
            by_size -= logits[:, list(places)].mean(-1) / len(sets)
    assert torch.allclose(by_order.mean(0), by_size)
    mixture = -(by_order.neg().logsumexp(0) - math.log(6))
    assert bool((by_order.mean(0) >= mixture).all())
    assert (by_order.amax(0) - by_order.amin(0)).max() > 0.1, "orders differ, or nothing was tested"


def test_few_places_have_an_exact_likelihood_and_many_an_estimate_of_the_bound():
    prior = tiny()
    assert float((-prior.nll(everything())).exp().sum()) == pytest.approx(1, abs=1e-10)
    prior, rows = tiny((12,)), torch.randint(3, (300, 12))
    orders = torch.stack([torch.randperm(12) for _ in rows])
    assert float(prior.nll(rows).mean()) == pytest.approx(
        float(prior.ordered_nll(rows, orders).mean()), rel=0.1
    )
    assert torch.equal(prior.nll(rows), prior.nll(rows))
    assert torch.allclose(prior.nll(rows)[:5], prior.nll(rows[:5]))


def test_a_step_a_place_without_noise_is_the_samplers_own_chain():
    """With as many steps as places the sampler settles one place a step. The order in which it did and what it drew
    give the likelihood of its own chain, once from the logits it saw and once from `ordered_nll`."""
    prior, seen = tiny((5,)), []
    inner = prior.hidden

    def watched(indices, masked, labels=None):
        h = inner(indices, masked, labels)
        seen.append((masked.clone(), prior.head(h)))
        return h

    prior.hidden = watched
    torch.manual_seed(1)
    rows = prior.sample(40, steps=5, noise=0.0)
    prior.hidden = inner
    masks = torch.stack([m for m, _ in seen] + [torch.zeros_like(seen[0][0])])
    assert masks.sum(-1).tolist() == [[left] * 40 for left in (5, 4, 3, 2, 1, 0)]
    order = (masks[:-1] & ~masks[1:]).long().argmax(-1).T
    own = torch.zeros(40, dtype=torch.float64)
    for turn, (_, logits) in enumerate(seen):
        place = order[:, turn]
        at = logits[torch.arange(40), place].log_softmax(-1)
        own -= at[torch.arange(40), rows[torch.arange(40), place]]
    assert torch.allclose(prior.ordered_nll(rows, order), own)


def test_a_step_a_place_in_random_order_follows_the_mixture_over_orders():
    prior, rows = tiny((3,)), everything(tokens=3)
    orders = torch.stack([prior.ordered_nll(rows, torch.tensor(o)) for o in itertools.permutations(range(3))])
    p = orders.neg().exp().mean(0).detach()
    drawn = prior.sample(40_000, steps=3, noise=1e6)
    share = (drawn * torch.tensor([9, 3, 1])).sum(-1).bincount(minlength=27) / 40_000
    # The noise fades, but while more than one place is left it decides the order alone.
    assert (share - p).abs().sum() < 0.03
    assert p.max() > 2 / 27


def test_training_finds_the_sure_and_leaves_the_rest_uniform():
    """Row = (a, a, b, b) with a, b uniform over 4: -log p is 2 log 4 in any order."""
    torch.manual_seed(0)
    prior = MaskGIT(Symbols((4,), 4), width=16, depth=2, heads=2, smoothing=0.0)
    (player,) = prior.players()
    optimizer = torch.optim.Adam(player.parameters, lr=1e-2)
    for step in range(200):
        loss = player.loss(Batch(torch.randint(4, (128, 2)).repeat_interleave(2, -1)), step)
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
    nll = prior.eval().nll(torch.randint(4, (500, 2)).repeat_interleave(2, -1)).mean()
    assert float(nll) == pytest.approx(2 * math.log(4), abs=0.1)
    drawn = prior.sample(200, steps=4)
    assert (drawn[:, ::2] == drawn[:, 1::2]).float().mean() > 0.97


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_stacks_are_drawn_place_by_place_and_sum_to_one(order):
    """All 81 pairs of stacks; each is a chain over its indices, which a loop over prefixes repeats."""
    prior, rows = tiny((2, 2)), everything().view(-1, 2, 2)
    found = prior.ordered_nll(rows, torch.tensor(order)).detach()
    assert float(found.neg().exp().sum()) == pytest.approx(1, abs=1e-10)
    for row, wanted in zip(rows[::20], found[::20], strict=True):
        masked, total = torch.ones(1, 2, dtype=torch.bool), 0.0
        for place in order:
            for d in range(2):  # an index sees the first ones of its stack, and no index of a masked place
                other = torch.where(masked[..., None], 2, row[None])
                other[0, place, :d] = row[place, :d]
                log_p = prior(other, masked)[0, place, d].log_softmax(-1)
                total -= float(log_p[row[place, d]].detach())
            masked[0, place] = False
        assert total == pytest.approx(float(wanted))


def test_draws_of_stacks_have_the_probabilities_of_their_chain():
    prior, rows = tiny((2, 2)), everything().view(-1, 2, 2)
    orders = torch.stack([prior.ordered_nll(rows, torch.tensor(o)) for o in ((0, 1), (1, 0))])
    p = orders.neg().exp().mean(0).detach()
    drawn = prior.sample(30_000, steps=2, noise=1e6).flatten(1)
    share = (drawn * torch.tensor([27, 9, 3, 1])).sum(-1).bincount(minlength=81) / 30_000
    assert (share - p).abs().sum() < 0.06


def test_stacks_are_masked_as_a_whole_and_labels_tell():
    prior = tiny((2, 3), labels=True, classes=2)
    rows = torch.randint(3, (4, 2, 3))
    one, other = ({"labels": torch.eye(2)[[i] * 4]} for i in (0, 1))
    assert prior.sample(5).shape == (5, 2, 3)
    assert not torch.allclose(prior.nll(rows, one), prior.nll(rows, other))
    assert prior.sample(3, {"labels": torch.eye(2)[[0, 1, 0]]}, guidance=2.0).shape == (3, 2, 3)
    none = {"labels": torch.zeros(4, 2)}
    assert torch.equal(prior.nll(rows), prior.nll(rows, none))
    with pytest.raises(RequestError, match="labels"):
        prior.train().nll(rows)
    prior.eval()


def test_wrong_symbols_and_options_are_refused():
    with pytest.raises(RequestError, match="flow-matching"):
        MaskGIT(Symbols((4,)))
    with pytest.raises(RequestError, match="guidance"):
        tiny().sample(2, guidance=2.0)
    for wrong in ({"steps": 0}, {"noise": -1.0}, {"temperature": 0.0}):
        with pytest.raises(RequestError, match=next(iter(wrong))):
            tiny().sample(2, **wrong)
