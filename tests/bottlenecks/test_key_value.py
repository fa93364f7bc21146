"""Keys and values: what is fetched, what moves, and what stays."""

import pytest
import torch
from torch.nn.functional import cross_entropy, one_hot

from narrows.bottlenecks.discrete.key_value import KeyValue
from narrows.core import Batch, Spec
from narrows.core.check import RequestError
from narrows.core.evidence import Indices
from narrows.data import Dataset
from narrows.data.scaling import Scaling
from narrows.methods.quantised.dkvb import dkvb
from narrows.train import optimise

SPEC = Spec((5,), classes=3)


def small():
    torch.manual_seed(0)
    model = dkvb(SPEC, heads=3, codes=4, width=2)
    torch.nn.init.normal_(model.bottleneck.values)
    return model


def test_the_prediction_is_the_mean_of_the_values_of_the_nearest_keys():
    model, x = small(), torch.randn(6, 5)
    pairs, mean = model.bottleneck, torch.zeros(6, 3)
    for i in range(6):
        for c in range(3):
            seen = x[i] @ pairs.projection[c]
            k = min(range(4), key=lambda k: float((seen - pairs.keys[c].codebook[k]).norm()))
            assert pairs.to_symbols(model.encode(Batch(x)))[i, c] == k
            mean[i] += pairs.values[c, k].detach() / 3
    torch.testing.assert_close(model.predict(Batch(x)), mean.softmax(-1))
    labels = torch.tensor([0, 2, 1, 1, 0, 2])
    loss = model.loss(Batch(x, None, {"labels": one_hot(labels, 3).float()}))
    torch.testing.assert_close(loss.total, cross_entropy(mean, labels))


def test_training_moves_the_values_that_were_fetched_and_nothing_else():
    model = small()
    rows = torch.randn(40, 5)
    model.bottleneck.prepare(model, Batch(rows))
    x = rows[:2].repeat(10, 1)
    used = one_hot(model.encode(Batch(x))[Indices].indices, 4).sum(0).bool()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    part = Dataset(x, Scaling(), (5,), labels=torch.tensor([0, 1]).repeat(10), class_names=("a", "b", "c"))
    optimise(model, part, steps=5, batch_size=4)
    for name, value in model.state_dict().items():
        if name != "bottleneck.values":
            assert torch.equal(value, before[name]), name
    moved = (model.bottleneck.values != before["bottleneck.values"]).any(-1)
    assert torch.equal(moved, used)


def test_keys_are_near_the_features_once_and_then_fixed():
    torch.manual_seed(0)
    pairs = KeyValue(6, 2, heads=2, codes=16, width=3)
    model = dkvb(Spec((6,), classes=2))
    rows = torch.randn(300, 6)

    def error():
        tokens = pairs.project(rows)
        return float((tokens - pairs(rows)[Indices].vectors).square().sum(-1).mean())

    before = error()
    pairs.prepare(model, Batch(rows))
    after = error()
    assert after < 0.6 * before
    pairs.prepare(model, Batch(rows + 5))
    assert error() == after
    again = KeyValue(6, 2, heads=2, codes=16, width=3)
    again.load_state_dict(pairs.state_dict())
    assert bool(again.ready)


def test_there_is_no_gradient_to_the_features_and_wrong_sizes_are_refused():
    x = torch.randn(4, 6, requires_grad=True)
    pairs = KeyValue(6, 2, heads=2, codes=4)
    pairs(x).z.sum().backward()
    assert x.grad is None
    assert float(pairs.values.grad.sum()) == 4 * 2 * 2
    with pytest.raises(RequestError, match="heads"):
        KeyValue(6, 2, heads=0)
    with pytest.raises(RequestError, match="`dkvb` predicts a label"):
        dkvb((5,))
