"""The autoregressive prior: causal, normalised, and its samples follow it."""

import itertools

import pytest
import torch

from narrows.core import Batch
from narrows.core.check import RequestError
from narrows.priors.autoregressive import Autoregressive, keep_top


def tiny(labels=0, **options):
    torch.manual_seed(0)
    prior = Autoregressive(
        codes=3,
        tokens=4,
        width=8,
        depth=2,
        heads=2,
        condition={"labels": labels} if labels else {},
        **options,
    )
    for p in prior.parameters():  # far from the near-uniform start
        torch.nn.init.normal_(p, std=0.7)
    return prior.eval()


def everything():
    return torch.tensor(list(itertools.product(range(3), repeat=4)))


def test_an_index_is_read_from_those_before_it_alone():
    prior = tiny()
    x = torch.randint(3, (5, 4))
    for j in range(4):
        changed = x.clone()
        changed[:, j] = (changed[:, j] + 1) % 3
        a, b = prior(x), prior(changed)
        assert torch.equal(a[:, : j + 1], b[:, : j + 1])
        if j < 3:
            assert not torch.allclose(a[:, j + 1], b[:, j + 1])


@pytest.mark.parametrize("given", [0, 2])
def test_the_likelihood_of_all_sequences_sums_to_one(given):
    prior = tiny(given).double()
    labels = torch.tensor([[0.0, 1.0]], dtype=torch.float64).expand(81, -1)
    total = (-prior.nll(everything(), {"labels": labels} if given else {})).exp().sum()
    assert torch.allclose(total, torch.tensor(1.0, dtype=torch.float64), atol=1e-10)


def test_samples_follow_the_likelihood():
    prior = tiny()
    sequences = everything()
    p = (-prior.nll(sequences)).exp().detach()
    drawn = prior.sample(20_000)
    places = (drawn * torch.tensor([27, 9, 3, 1])).sum(-1)
    share = places.bincount(minlength=81) / len(drawn)
    assert (share - p).abs().sum() < 0.05  # total variation of an exact sampler is about 0.02 here
    assert p.max() > 0.03  # not uniform: 1/81


def test_a_label_changes_what_is_drawn():
    prior = tiny(2)
    sequences = everything()
    places = torch.tensor([27, 9, 3, 1])
    for label in torch.eye(2):
        p = (-prior.nll(sequences, {"labels": label.expand(81, -1)})).exp().detach()
        drawn = (prior.sample(10_000, {"labels": label.expand(10_000, -1)}) * places).sum(-1)
        assert (drawn.bincount(minlength=81) / 10_000 - p).abs().sum() < 0.08
    assert prior.sample(5).shape == (5, 4)
    with pytest.raises(RequestError, match="labels"):
        prior.nll(sequences)
    with pytest.raises(RequestError, match="rows"):
        prior.sample(3, {"labels": torch.eye(2)})


def test_temperature_and_top_k_sharpen():
    cold = tiny(temperature=1e-3)
    assert len(cold.sample(50).unique(dim=0)) == 1
    greedy = tiny(top_k=1)
    assert torch.equal(greedy.sample(3), cold.sample(3))
    assert keep_top(torch.tensor([[0.0, 2.0, 1.0]]), 2).softmax(-1)[0, 0] == 0
    assert torch.equal(keep_top(torch.tensor([0.0, 1.0]), 0), torch.tensor([0.0, 1.0]))


def test_training_reaches_the_entropy_of_a_known_chain():
    """k_1 uniform over 4, each next one the same as before with probability 0.9, else any: entropy by hand."""
    torch.manual_seed(0)

    def chain(n):
        rows = [torch.randint(4, (n,))]
        for _ in range(5):
            stay = torch.rand(n) < 0.9
            rows.append(torch.where(stay, rows[-1], torch.randint(4, (n,))))
        return torch.stack(rows, 1)

    same, other = torch.tensor(0.9 + 0.1 / 4), torch.tensor(0.1 / 4)
    entropy = torch.tensor(4.0).log() + 5 * -(same * same.log() + 3 * other * other.log())
    prior = Autoregressive(codes=4, tokens=6, width=16, depth=1, heads=2)
    (player,) = prior.players()
    optimizer = torch.optim.Adam(player.parameters, lr=1e-2)
    for step in range(150):
        loss = player.loss(Batch(chain(128)), step)
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
    nll = prior.nll(chain(4000)).mean()
    assert entropy - 0.08 < nll < entropy + 0.15


def test_bad_arguments_are_refused():
    for wrong in ({"codes": 0}, {"temperature": 0.0}, {"top_k": -1}, {"heads": 3}):
        with pytest.raises(RequestError, match=next(iter(wrong))):
            Autoregressive(**{"codes": 4, "tokens": 3, "width": 8, **wrong})
