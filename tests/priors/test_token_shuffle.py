"""Token-Shuffle: windows that are undone, probabilities by enumeration, cached draws, independence in a window."""

import itertools

import pytest
import torch

from narrows.core import Symbols, TokenLayout
from narrows.core.check import RequestError
from narrows.priors.heads.shuffle import windows
from narrows.priors.samplers.ancestral import draw
from narrows.priors.token_shuffle import TokenShuffle


def tiny(grid=(2, 3), codes=2, **options):
    torch.manual_seed(0)
    tokens = torch.Size(grid).numel()
    prior = TokenShuffle(
        Symbols((tokens,), codes, TokenLayout((grid,))), width=8, depth=2, heads=2, **options
    )
    for p in prior.parameters():  # far from the near-uniform start
        torch.nn.init.normal_(p, std=0.7)
    return prior.double().eval()


def everything(codes=2, tokens=6):
    return torch.tensor(list(itertools.product(range(codes), repeat=tokens)))


@pytest.mark.parametrize(("grid", "side"), [((4, 4), 2), ((7, 7), 2), ((3, 5), 3), ((9,), 4), ((3, 4, 5), 2)])
def test_every_token_is_in_one_window_at_its_place(grid, side):
    table = windows(grid, side)
    tokens = torch.Size(grid).numel()
    assert sorted(table[table >= 0].tolist()) == list(range(tokens))
    counts = [-(-length // side) for length in grid]
    for at in itertools.product(*[range(length) for length in grid]):
        window = inside = token = 0
        for a, length, count in zip(at, grid, counts, strict=True):
            window, inside = window * count + a // side, inside * side + a % side
            token = token * length + a
        assert table[window, inside] == token


def test_symbols_come_back_from_windows():
    prior = tiny((3, 5), codes=7)
    rows = torch.randint(7, (4, 15))
    assert torch.equal(prior.restore(prior.arrange(rows)), rows)


def test_the_probabilities_of_all_grids_sum_to_one():
    """A grid of 2 x 3 has a whole window of 2 x 2, and one of 2 x 1."""
    prior = tiny()
    assert float((-prior.nll(everything())).exp().sum()) == pytest.approx(1, abs=1e-10)
    assert prior.token_nll(everything()[:1]).shape == (1, 8)


def test_tokens_of_a_window_are_independent_and_depend_on_earlier_windows():
    prior, rows = tiny(), everything()
    p = (-prior.nll(rows)).exp().detach().view(2, 2, 2, 2, 2, 2)
    first = p.sum((2, 5))  # tokens 0, 1, 3, 4
    alone = [first.sum([a for a in range(4) if a != axis]) for axis in range(4)]
    torch.testing.assert_close(first, torch.einsum("a,b,c,d->abcd", *alone))
    second = p / p.sum((2, 5), keepdim=True)
    assert (second - second.mean((0, 1, 3, 4), keepdim=True)).abs().max() > 0.02


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_cached_draws_are_those_of_full_passes(guidance):
    prior = tiny((3, 5), codes=5, labels=True, classes=2)
    labels = torch.eye(2, dtype=torch.double)[[0, 1, 1]]
    torch.manual_seed(7)
    cached = prior.sample(3, {"labels": labels}, guidance=guidance)
    torch.manual_seed(7)
    found = torch.full((3, *prior.order.shape), -1)
    for window, present in enumerate(prior.order >= 0):
        told, untold = (prior(found, who)[:, window] for who in (labels, 0 * labels))
        logits = untold + guidance * (told - untold) if guidance != 1 else told
        found[:, window] = torch.where(present, draw(logits), -1)
    assert torch.equal(cached, prior.restore(found))


def test_a_large_grid_takes_a_quarter_of_the_steps():
    prior = tiny((8, 8), codes=5)
    passes = []
    prior.net.blocks.register_forward_hook(lambda *_: passes.append(None))
    assert prior.sample(2).shape == (2, 64)
    assert len(passes) == 16


def test_what_does_not_fit_is_refused():
    with pytest.raises(RequestError, match="next-scale"):
        TokenShuffle(Symbols((5,), 3, TokenLayout(((1, 1), (2, 2)))))
    with pytest.raises(RequestError, match="window"):
        TokenShuffle(Symbols((4,), 3), window=0)
    with pytest.raises(RequestError, match="width"):
        TokenShuffle(Symbols((16,), 3, TokenLayout(((4, 4),))), window=3, width=16)
