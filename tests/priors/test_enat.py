"""ENAT: kept features equal those of full passes, its chain is a distribution, and a draw costs less than MaskGIT's."""

import itertools

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from narrows.core import Symbols
from narrows.priors.enat import ENAT
from narrows.priors.maskgit import MaskGIT


def tiny(shape=(4,), codes=3, **options):
    torch.manual_seed(0)
    prior = ENAT(Symbols(shape, codes), width=8, depth=2, heads=2, **options)
    for p in prior.parameters():  # far from the near-uniform start
        torch.nn.init.normal_(p, std=0.7)
    return prior.double().eval()


def everything(codes=3, tokens=4):
    return torch.tensor(list(itertools.product(range(codes), repeat=tokens)))


@pytest.mark.parametrize("guidance", [1.0, 2.0])
@pytest.mark.parametrize("shape", [(12,), (6, 2)])
def test_kept_features_give_the_probabilities_of_full_passes(shape, guidance):
    prior, labels = tiny(shape, labels=True, classes=2), torch.eye(2)[[0, 1, 1]]
    seen, inner = [], prior.kept

    def watched(*arguments):
        propose = inner(*arguments)

        def both(symbols, masked):
            seen.append((masked, *propose(symbols, masked)))
            return seen[-1][1:]

        return both

    prior.kept = watched
    torch.manual_seed(3)
    rows = prior.sample(3, {"labels": labels}, steps=4, guidance=guidance)
    prior.kept = inner
    step = sum(masked.long() for masked, *_ in seen)  # in how many calls a place was masked
    for masked, filled, log_p in seen:
        logits = [
            prior.logits(prior.hidden(filled, masked, who, step), filled) for who in (labels, 0 * labels)
        ]
        mixed = logits[1] + guidance * (logits[0] - logits[1])
        wanted = mixed.log_softmax(-1).gather(-1, filled[..., None])[..., 0]
        torch.testing.assert_close(log_p[masked], wanted.view(*masked.shape, -1).sum(-1)[masked])
        assert bool((log_p[~masked] == torch.inf).all())
    assert torch.equal(rows, seen[-1][1])
    assert len(seen) == 4


def test_a_revealed_place_is_encoded_from_itself_and_earlier_ones():
    prior, x = tiny((5,)), torch.tensor([[0, 1, 2, 0, 1]])
    masked = torch.tensor([[False, False, False, True, True]])
    orders = [torch.tensor([[0, 1, 2, 3, 3]]), torch.tensor([[2, 1, 0, 3, 3]]), torch.zeros(1, 5)]
    found = [prior.hidden(x, masked, None, order)[masked] for order in orders]
    assert not torch.allclose(found[0], found[1])
    assert torch.equal(prior.hidden(x, masked)[masked], found[2])
    # what a masked place has is not seen
    other = x.clone()
    other[0, 3] = 2
    assert torch.equal(prior.hidden(other, masked, None, orders[0])[masked], found[0])


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (2, 0, 3, 1)])
def test_in_every_order_all_rows_sum_to_one(order):
    total = (-tiny().ordered_nll(everything(), torch.tensor(order))).exp().sum().detach()
    assert float(total) == pytest.approx(1, abs=1e-10)


def test_a_step_a_place_in_random_order_follows_the_mixture_over_orders():
    prior, rows = tiny((3,)), everything(tokens=3)
    orders = torch.stack([prior.ordered_nll(rows, torch.tensor(o)) for o in itertools.permutations(range(3))])
    p = orders.neg().exp().mean(0).detach()
    drawn = prior.sample(20_000, steps=3, noise=1e6)
    share = (drawn * torch.tensor([9, 3, 1])).sum(-1).bincount(minlength=27) / 20_000
    assert (share - p).abs().sum() < 0.05
    assert p.max() > 2 / 27


def test_a_draw_takes_fewer_operations_with_as_many_weights():
    symbols = Symbols((49,), 64)
    priors = [ENAT(symbols, width=32), MaskGIT(symbols, width=32, depth=4)]
    assert len({sum(p.numel() for p in prior.parameters()) for prior in priors}) == 1
    work = []
    for prior in priors:
        with FlopCounterMode(display=False) as counter:
            prior.sample(2)
        work.append(counter.get_total_flops())
    assert work[0] < 0.7 * work[1]
    with FlopCounterMode(display=False) as counter:
        assert priors[0].sample(2, reuse=False).shape == (2, 49)
    assert counter.get_total_flops() > work[0]
