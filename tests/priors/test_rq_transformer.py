"""The RQ-Transformer: causal over places and depth, normalised, and its cached samples are those of full passes."""

import itertools
import math

import pytest
import torch

from narrows.core import Batch, Symbols
from narrows.core.check import RequestError
from narrows.priors.rq_transformer import RQTransformer
from narrows.priors.samplers.ancestral import draw


def tiny(shape=(2, 2), codes=3, **options):
    torch.manual_seed(0)
    prior = RQTransformer(Symbols(shape, codes), width=8, depth=2, head_depth=2, heads=2, **options)
    for p in prior.parameters():  # far from the near-uniform start
        torch.nn.init.normal_(p, std=0.7)
    return prior.double().eval()


def everything():
    return torch.tensor(list(itertools.product(range(3), repeat=4))).view(-1, 2, 2)


def test_a_code_is_read_from_those_before_it_alone():
    prior = tiny((3, 2))
    x = torch.randint(3, (5, 3, 2))
    for j in range(6):
        changed = x.flatten(1).clone()
        changed[:, j] = (changed[:, j] + 1) % 3
        a, b = prior(x).flatten(1, 2), prior(changed.view_as(x)).flatten(1, 2)
        assert torch.allclose(a[:, : j + 1], b[:, : j + 1], atol=1e-14)
        if j < 5:
            assert not torch.allclose(a[:, j + 1], b[:, j + 1])


def test_the_logits_are_those_of_the_papers_sums_place_by_place():
    """u_l and v_ld written out for one row and each place, both transformers fed what they may see and no more."""
    prior, x = tiny((3, 2)), torch.randint(3, (3, 2))
    found = prior(x[None])[0]
    for place in range(3):
        u = [prior.start + prior.place[0]]
        for before in range(place):
            u.append(prior.place[before + 1] + sum(prior.embed[d, x[before, d]] for d in range(2)))
        h = prior.body(torch.stack(u)[None])[0, -1]
        v = [prior.level[0] + h]
        for d in range(2):
            out = prior.head(torch.stack(v)[None])[0, -1]
            assert torch.allclose(found[place, d], out @ prior.classify[d] + prior.bias[d])
            v.append(prior.level[min(d + 1, 1)] + sum(prior.embed[i, x[place, i]] for i in range(d + 1)))


@pytest.mark.parametrize("classes", [0, 2])
def test_the_likelihood_of_all_stacks_sums_to_one(classes):
    prior = tiny(labels=classes > 0, classes=classes)
    told = {"labels": torch.tensor([[0.0, 1.0]]).expand(81, -1)} if classes else {}
    assert float((-prior.nll(everything(), told)).exp().sum()) == pytest.approx(1, abs=1e-10)


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_sampling_with_the_cache_is_sampling_without(guidance):
    prior = tiny((4, 3), labels=True, classes=2)
    labels = torch.eye(2)[[0, 1, 1, 0, 1]]
    torch.manual_seed(7)
    cached = prior.sample(5, {"labels": labels}, guidance=guidance)
    torch.manual_seed(7)
    x = torch.zeros(5, 4, 3, dtype=torch.long)
    for place, d in itertools.product(range(4), range(3)):  # every code from a pass over all of them
        told, untold = prior(x, labels)[:, place, d], prior(x, 0 * labels)[:, place, d]
        x[:, place, d] = draw(untold + guidance * (told - untold) if guidance != 1 else told)
    assert torch.equal(cached, x)
    assert len(cached.unique()) == 3


def test_samples_follow_the_likelihood():
    prior = tiny()
    p = (-prior.nll(everything())).exp().detach()
    drawn = prior.sample(20_000).flatten(1)
    share = (drawn * torch.tensor([27, 9, 3, 1])).sum(-1).bincount(minlength=81) / len(drawn)
    assert (share - p).abs().sum() < 0.05  # total variation of an exact sampler is about 0.02 here
    assert p.max() > 0.03  # not uniform: 1/81


def test_training_reaches_the_entropy_of_known_stacks():
    """(a, a + c) then (a, a + c') with a of 4 and each c of 2, evenly: log 4 + 2 log 2."""
    torch.manual_seed(0)

    def stacks(n):
        a, c = torch.randint(4, (n, 1, 1)), torch.randint(2, (n, 2, 1))
        return torch.cat([a.expand(n, 2, 1), (a + c) % 4], -1)

    prior = RQTransformer(Symbols((2, 2), 4), width=16, depth=1, heads=2)
    (player,) = prior.players()
    optimizer = torch.optim.Adam(player.parameters, lr=1e-2)
    for step in range(200):
        loss = player.loss(Batch(stacks(128)), step)
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
    assert float(prior.nll(stacks(2000)).mean()) == pytest.approx(math.log(16), abs=0.1)


def test_wrong_symbols_are_refused():
    with pytest.raises(RequestError, match="These do: ar, maskgit"):
        RQTransformer(Symbols((4,), 5))
    with pytest.raises(RequestError, match="flow-matching"):
        RQTransformer(Symbols((4, 2)))
    with pytest.raises(RequestError, match="labels"):
        tiny(labels=True, classes=2).sample(3, {"labels": torch.eye(3)})
