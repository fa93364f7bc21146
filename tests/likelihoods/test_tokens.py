"""p(text | z): against a loop, against all texts there are, and blind to what it must not see."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from narrows.core import seeded
from narrows.core.check import RequestError
from narrows.core.vocabulary import END, PAD, START, UNKNOWN
from narrows.likelihoods import tokens
from narrows.likelihoods.tokens import Tokens
from narrows.nets.sequence import RNN

RNNS = [RNN("lstm", 8), RNN("gru", 8, 2)]
T, V, Z = 5, 7, 3


def made(rnn: RNN, **options) -> Tokens:
    with seeded(0):
        return Tokens((T,), V, Z, rnn, embedding=4, **options).double().eval()


def texts(*rows: list[int]) -> Tensor:
    return torch.tensor([[*row, END, *[PAD] * (T - 1 - len(row))] for row in rows])


@pytest.mark.parametrize("rnn", RNNS)
def test_nll_is_that_of_a_loop_over_symbols(rnn):
    p, x = made(rnn), texts([4, 5, 6], [], [5])
    z = torch.randn(3, Z).double()
    found = p.nll(z, x)
    for b in range(3):
        first = torch.tanh(p.first(z[b])).reshape(p.pairs, rnn.layers, -1)
        state = first[0] if p.pairs == 1 else (first[0], first[1])
        total, last = 0.0, START
        for symbol in x[b].tolist():
            inputs = torch.cat([p.embed.weight[last], z[b]])[None]
            hidden, state = p.net(inputs, state)
            logits = p.head(hidden[0]).clone()
            logits[[PAD, START]] = -torch.inf
            total -= logits.log_softmax(0)[symbol]
            last = symbol
            if symbol == END:
                break
        assert abs(float(found[b] - total)) < 1e-12


@pytest.mark.parametrize("rnn", RNNS)
def test_the_probabilities_of_all_texts_sum_to_one(rnn):
    p = made(rnn)
    symbols = range(UNKNOWN, V)
    ended = [list(s) for n in range(T) for s in itertools.product(symbols, repeat=n)]
    cut = torch.tensor(list(itertools.product(symbols, repeat=T)))  # those that are longer go on from here
    z = torch.randn(1, Z).double()
    with torch.no_grad():
        total = sum(float((-p.nll(z.expand(len(x), Z), x)).exp().sum()) for x in (texts(*ended), cut))
    assert abs(total - 1) < 1e-12


def test_drawn_texts_have_the_probabilities_of_nll():
    p, z = made(RNNS[0]), torch.randn(1, Z).double()
    with torch.no_grad():
        p.head.bias[END] += 1.5  # short texts, so that few make up most
        p.head.bias[UNKNOWN] = -torch.inf
    with seeded(0):
        drawn = p.sample(z.expand(20_000, Z))
    for row in ([], [4], [5, 6]):
        x = texts(row)
        share, exact = float((drawn == x).all(1).double().mean()), float((-p.nll(z, x)).exp())
        assert abs(share - exact) < 4 * (exact / 20_000) ** 0.5


def test_what_is_written_does_not_depend_on_a_target():
    p, z = made(RNNS[0]), torch.randn(2, Z).double()
    x, other = texts([4, 5, 6], [5]), texts([6, 6, 6], [4, 4])
    before = p.mean(z)
    first, second = p.nll(z, x), p.nll(z, other)
    assert not torch.allclose(first, second)
    assert torch.equal(p.mean(z), before)
    # what is likeliest after the true symbols does depend on them: writing freely and teacher forcing are two things
    taught = [p._logits(p._teacher_forced(z, t)) for t in (x, other)]
    assert torch.equal(taught[0][:, 0], taught[1][:, 0])
    assert not torch.allclose(taught[0][:, 1:], taught[1][:, 1:])


@pytest.mark.parametrize("rnn", RNNS)
def test_padding_changes_nothing(rnn):
    p, z = made(rnn), torch.randn(2, Z).double()
    x = texts([4, 5], [6])
    mask = x != PAD
    garbage = torch.where(mask, x, -(10**9))
    assert torch.equal(p.nll(z, garbage, mask), p.nll(z, x, mask))
    longer = torch.cat([x, torch.full((2, 4), 99)], 1)
    wide = torch.cat([mask, torch.zeros(2, 4, dtype=torch.bool)], 1)
    assert torch.allclose(p.nll(z, longer, wide), p.nll(z, x, mask), atol=1e-10)
    assert torch.allclose(p.nll(z, x[:, :3], mask[:, :3]), p.nll(z, x, mask), atol=1e-10)
    drawn = p.nll(torch.stack([z, z + 1]), x, mask)
    assert torch.allclose(drawn[1], p.nll(z + 1, x, mask))


def test_logits_in_pieces_give_the_same_loss_and_gradient(monkeypatch):
    p, z = made(RNNS[0]), torch.randn(3, Z).double()
    x = texts([4, 5, 6], [5], [6, 6])
    found = []
    for chunk in (4096, 4):
        monkeypatch.setattr(tokens, "_CHUNK", chunk)
        loss = p.nll(z, x).sum()
        found.append([loss, *torch.autograd.grad(loss, list(p.parameters()))])
    assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(*found, strict=True))


def terms_of(p: Tokens, z: Tensor, x: Tensor) -> Tensor:
    return p._token_nll(p._teacher_forced(z, x)[0], x[0])


@pytest.mark.parametrize("share", [1 - 1e-12, 1.0])
def test_word_dropout_hides_the_symbols_before(share):
    p, z = made(RNNS[0], word_dropout=share), torch.randn(1, Z).double()
    x, other = texts([4, 5]), texts([6, 5])
    p.train()
    found = [terms_of(p, z, t) for t in (x, other)]
    assert torch.equal(found[0][1:3], found[1][1:3])  # what follows is the same, and so it is told the same
    p.eval()
    found = [terms_of(p, z, t) for t in (x, other)]
    # in use nothing is hidden, unless the net was made to read nothing at all
    assert torch.equal(found[0][1:3], found[1][1:3]) == (share == 1)
    if share == 1:
        assert torch.equal(found[0], p.train()._token_nll(p._teacher_forced(z, x)[0], x[0]))


def test_fewest_symbols_and_lowest_temperature_are_the_greedy_text():
    p, z = made(RNNS[0]), torch.randn(4, Z).double()
    assert torch.equal(p.sample(z, top_k=1), p.mean(z))
    assert torch.equal(p.sample(z, temperature=1e-3), p.mean(z))
    written = p.sample(z)
    assert not bool(((written == START) | (written == UNKNOWN)).any())
    ended = (written == END).cumsum(1).cumsum(1) > 1
    assert bool((written[ended] == PAD).all())


@pytest.mark.parametrize("wrong", [{"word_dropout": 1.5}, {"vocabulary": 4}])
def test_what_cannot_be_is_refused(wrong):
    with pytest.raises(RequestError):
        Tokens(**{"shape": (T,), "vocabulary": V, "conditioning": Z, "rnn": RNN(), **wrong})
    with pytest.raises(RequestError, match="temperature"):
        made(RNNS[0]).sample(torch.zeros(1, Z).double(), temperature=0)
