"""Patterns of stacks: undone exactly for every size, and a normalised prior whose draws follow it."""

import itertools
import math

import pytest
import torch

from narrows.core import Symbols
from narrows.core.check import RequestError
from narrows.priors.autoregressive import Autoregressive
from narrows.priors.pattern import PATTERNS, arranged, pattern, restored
from narrows.priors.samplers.ancestral import draw

SEVERAL = [name for name in PATTERNS if name != "flat"]


@pytest.mark.parametrize("name", PATTERNS)
def test_a_pattern_is_undone_and_draws_every_code_once(name):
    for frames, depth in itertools.product(range(1, 10), range(1, 6)):
        table = pattern(name, frames, depth)
        stacks = torch.arange(2 * frames * depth).view(2, frames, depth)
        steps = arranged(stacks, table)
        assert torch.equal(restored(steps, table), stacks)
        assert sorted(steps[steps >= 0].tolist()) == list(range(2 * frames * depth))
        each = math.ceil(frames / depth) * depth + depth - 1
        most = {"flat": frames * depth, "parallel": frames, "delay": frames + depth - 1, "stack-delay": each}
        assert len(table) <= most[name]


def test_the_steps_are_those_of_the_definitions():
    """Code k of frame t: flat t K + k, parallel t, delay t + k; stack-delay by a loop over streams."""
    frames, depth = 6, 3
    expected = {
        "flat": lambda t, k: t * depth + k,
        "parallel": lambda t, k: t,
        "delay": lambda t, k: t + k,
    }
    for name, step in expected.items():
        table = pattern(name, frames, depth)
        assert all(table[step(t, k), k] == t for t in range(frames) for k in range(depth))
    table = pattern("stack-delay", frames, depth)
    for stream in range(depth):
        now = stream
        for t in (2 * stream, 2 * stream + 1):
            for k in range(depth):
                assert table[now, k] == t
                now += 1


def tiny(name, shape=(2, 2), **options):
    torch.manual_seed(0)
    prior = Autoregressive(Symbols(shape, codes=3), pattern=name, width=8, depth=2, heads=2, **options)
    for p in prior.parameters():  # far from the near-uniform start
        torch.nn.init.normal_(p, std=0.7)
    return prior.double().eval()


def everything():
    return torch.tensor(list(itertools.product(range(3), repeat=4))).view(-1, 2, 2)


@pytest.mark.parametrize("name", PATTERNS)
def test_the_likelihood_of_all_stacks_sums_to_one_and_draws_follow_it(name):
    prior = tiny(name)
    p = (-prior.nll(everything())).exp().detach()
    assert float(p.sum()) == pytest.approx(1, abs=1e-10)
    drawn = prior.sample(10_000).flatten(1)
    share = (drawn * torch.tensor([27, 9, 3, 1])).sum(-1).bincount(minlength=81) / len(drawn)
    assert (share - p).abs().sum() < 0.08  # total variation of an exact sampler is about 0.03 here
    assert p.max() > 0.03  # not uniform: 1/81


@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize("name", SEVERAL)
def test_cached_draws_are_those_of_full_passes(name, guidance):
    prior = tiny(name, (4, 3), labels=True, classes=2)
    labels = torch.eye(2, dtype=torch.double)[[0, 1, 1]]
    torch.manual_seed(7)
    cached = prior.sample(3, {"labels": labels}, guidance=guidance)
    torch.manual_seed(7)
    table = pattern(name, 4, 3)
    steps = torch.full((3, *table.shape), -1)
    for step, present in enumerate(table >= 0):
        told, untold = (prior(steps, who)[:, step] for who in (labels, 0 * labels))
        logits = untold + guidance * (told - untold) if guidance != 1 else told
        steps[:, step] = torch.where(present, draw(logits), -1)
    assert torch.equal(cached, restored(steps, table))


def test_patterns_are_for_stacks():
    with pytest.raises(RequestError, match="pattern"):
        Autoregressive(Symbols((4,), codes=3), pattern="delay")
    with pytest.raises(RequestError, match="pattern"):
        Autoregressive(Symbols((4, 2), codes=3), pattern="zigzag")
    assert Autoregressive(Symbols((4,), codes=3), pattern="flat").order is None
