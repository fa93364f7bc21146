"""Alignment of hidden states with frozen features, and the causal prior that is trained with it."""

import math

import pytest
import torch
from torch import nn

from narrows.core import Batch, Symbols
from narrows.core.check import RequestError
from narrows.nets.features import RandomFeatures
from narrows.objectives.alignment import Alignment
from narrows.priors import make_prior
from narrows.priors.autoregressive import Autoregressive


class Flat(nn.Module):
    """Features of 2 x 3 numbers: a linear map of all of them."""

    def __init__(self):
        super().__init__()
        self.map = nn.Linear(6, 4)

    def forward(self, x):
        return self.map(x.flatten(1))


class Tokenizer:
    """A model whose symbols of an example are the signs of some of its numbers."""

    def as_symbols(self, batch):
        return Batch((batch.x.flatten(1)[:, :4] > 0).long(), condition=batch.condition)


def aligned(**options):
    torch.manual_seed(0)
    symbols = Symbols((4,), codes=3)
    return Autoregressive(symbols, width=8, depth=2, heads=2, align=Flat(), shape=(1, 2, 3), **options)


def examples():
    torch.manual_seed(1)
    return Batch(torch.randn(5, 1, 2, 3))


def test_the_term_is_one_minus_the_cosine_of_each_state():
    torch.manual_seed(0)
    alignment = Alignment(Flat(), (1, 2, 3), 8)
    x, h = examples().x, torch.randn(5, 4, 8)
    found = alignment(h, alignment.targets(x))
    first, _, last = alignment.projection
    for b in range(5):
        f = [float(v) for v in alignment.teacher(x)[b]]
        for place in range(4):
            inner = first.weight @ h[b, place] + first.bias
            a = [float(v) for v in last.weight @ (inner / (1 + (-inner).exp())) + last.bias]
            product = sum(p * q for p, q in zip(a, f, strict=True))
            cosine = product / math.sqrt(sum(p * p for p in a) * sum(q * q for q in f))
            assert float(found[b, place]) == pytest.approx(1 - cosine, abs=1e-5)


@pytest.mark.parametrize("layer", [1, 2])
def test_the_loss_is_the_nll_and_the_weighted_sum_over_places(layer):
    prior = aligned(align_weight=0.5, align_layer=layer)
    data = examples()
    batch = prior.view(Tokenizer(), data)
    h = prior.layers(batch.x)[layer - 1]
    away = prior.alignment(h, prior.alignment.targets(data.x))
    loss = prior.loss(batch)
    assert torch.allclose(loss.total, (prior.nll(batch.x) + 0.5 * away.sum(1)).mean())
    assert torch.allclose(loss.terms["align"], away.mean())


def test_the_teacher_is_frozen_and_all_else_learns():
    prior = aligned()
    prior.loss(prior.view(Tokenizer(), examples())).total.backward()
    assert not list(prior.alignment.teacher.parameters())
    assert all(p.grad is not None for p in prior.parameters() if p.requires_grad)


def test_likelihood_and_samples_do_not_read_the_term():
    prior, symbols = aligned().eval(), Symbols((4,), codes=3)
    plain = Autoregressive(symbols, width=8, depth=2, heads=2).eval()
    plain.load_state_dict({k: v for k, v in prior.state_dict().items() if not k.startswith("alignment.")})
    rows = torch.randint(3, (6, 4))
    assert torch.equal(prior.nll(rows), plain.nll(rows))
    drawn = []
    for one in (prior, plain):
        torch.manual_seed(3)
        drawn.append(one.sample(6))
    assert torch.equal(*drawn)


def test_of_feature_maps_the_mean_of_the_last_is_read():
    net = RandomFeatures((1, 8, 8), channels=2)
    x = torch.rand(3, 1, 8, 8)
    assert torch.allclose(Alignment(net, (1, 8, 8), 4).targets(x), net(x)[-1].mean((-1, -2)))


@pytest.mark.parametrize(
    ("text", "shape", "message"),
    [
        ("ar:align=random", (), "align.*the shape of an example is not known"),
        ("ar:align=vggg", (1, 8, 8), "`align` must be one of.*vggg"),
        ("ar:align=resnet", (1, 8, 8), "weights"),
        ("ar:align=random,align_layer=9", (1, 8, 8), "align_layer"),
        ("ar:align=random,align_weight=-1", (1, 8, 8), "align_weight"),
        ("ar:align_weight=2", (1, 8, 8), "`align_weight` must be left out without `align`, but got 2"),
        ("ar:align=none,align_layer=2", (1, 8, 8), "`align_layer` must be left out without `align`"),
        ("ar:shape=3", (1, 8, 8), "no option `shape`"),
    ],
)
def test_bad_texts(text, shape, message):
    with pytest.raises(RequestError, match=message):
        make_prior(text, Symbols((4,), codes=3), 0, shape)


def test_a_net_that_does_not_read_the_examples():
    with pytest.raises(RequestError, match=r"align.*a net that reads examples of shape \(1, 4, 4\)"):
        Autoregressive(Symbols((4,), codes=3), width=8, heads=2, align=Flat(), shape=(1, 4, 4))
