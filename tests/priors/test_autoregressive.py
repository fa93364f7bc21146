"""The autoregressive prior: causal, normalised, and its samples follow it."""

import itertools

import pytest
import torch

from narrows.core import Batch, Symbols
from narrows.core.check import RequestError
from narrows.priors.autoregressive import Autoregressive
from narrows.priors.samplers.ancestral import draw


def tiny(classes=0, shape=(4,)):
    torch.manual_seed(0)
    told = {"labels": classes > 0, "classes": classes}
    prior = Autoregressive(Symbols(shape, codes=3), width=8, depth=2, heads=2, **told)
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


@pytest.mark.parametrize("classes", [0, 2])
def test_the_likelihood_of_all_sequences_sums_to_one(classes):
    prior = tiny(classes).double()
    told = {"labels": torch.tensor([[0.0, 1.0]], dtype=torch.float64).expand(81, -1)} if classes else {}
    total = (-prior.nll(everything(), told)).exp().sum()
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
    none = {"labels": torch.zeros(81, 2)}
    assert torch.equal(prior.nll(sequences), prior.nll(sequences, none))
    with pytest.raises(RequestError, match="labels"):
        prior.train().nll(sequences)
    prior.eval()
    with pytest.raises(RequestError, match="labels"):
        prior.sample(3, {"labels": torch.eye(2)})


def test_temperature_and_top_k_sharpen():
    prior = tiny()
    cold = prior.sample(50, temperature=1e-3)
    assert len(cold.unique(dim=0)) == 1
    assert torch.equal(prior.sample(3, top_k=1), cold[:3])
    assert torch.equal(prior.sample(3, top_p=1e-6), cold[:3])


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_sampling_with_the_cache_is_sampling_without(guidance):
    prior, labels = tiny(2).double(), torch.eye(2, dtype=torch.float64)[[0, 1, 1, 0, 1]]
    torch.manual_seed(7)
    cached = prior.sample(5, {"labels": labels}, guidance=guidance)
    torch.manual_seed(7)
    x = torch.zeros(5, 4, dtype=torch.long)
    for place in range(4):  # every index from a pass over all of them
        told, untold = prior(x, labels)[:, place], prior(x, 0 * labels)[:, place]
        x[:, place] = draw(untold + guidance * (told - untold) if guidance != 1 else told)
    assert torch.equal(cached, x)


def test_stacks_are_one_long_row():
    stacked, flat = tiny(shape=(2, 2)), tiny()
    flat.load_state_dict(stacked.state_dict())
    assert torch.equal(stacked.nll(everything().view(-1, 2, 2)), flat.nll(everything()))
    assert stacked.sample(5).shape == (5, 2, 2)


def test_labels_are_left_out_of_a_tenth_of_the_rows_in_training():
    """A row without its label has the likelihood of a row of zeros; the others that of their label."""
    prior, rows = tiny(2).double(), torch.zeros(4000, 4, dtype=torch.long)
    labels = torch.eye(2, dtype=torch.float64)[:1].expand(4000, -1)
    told, untold = (
        prior.nll(rows[:1], {"labels": labels[:1]}),
        prior.nll(rows[:1], {"labels": 0 * labels[:1]}),
    )
    found = prior.train().nll(rows, {"labels": labels})
    without = (found - untold).abs() < 1e-9
    assert bool((without | ((found - told).abs() < 1e-9)).all())
    assert without.double().mean() == pytest.approx(0.1, abs=0.02)


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
    prior = Autoregressive(Symbols((6,), codes=4), width=16, depth=1, heads=2)
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
    with pytest.raises(RequestError, match="heads"):
        Autoregressive(Symbols((3,), codes=4), width=8, heads=3)
    with pytest.raises(RequestError, match="These do: givt"):
        Autoregressive(Symbols((3,)))
    with pytest.raises(RequestError, match="no labels"):
        Autoregressive(Symbols((3,), codes=4), labels=True)
    for wrong in ({"temperature": 0.0}, {"top_k": -1}, {"top_p": 0.0}, {"guidance": 2.0}):
        with pytest.raises(RequestError, match=next(iter(wrong))):
            tiny().sample(2, **wrong)
