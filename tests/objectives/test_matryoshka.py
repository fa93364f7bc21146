"""Nested reconstructions against prefixes that are decoded one by one, and the law of drawn widths."""

import pytest
import torch

from narrows import train
from narrows.core import Batch, Spec
from narrows.core.check import RequestError
from narrows.data import open as open_data
from narrows.kernels.sparse import decode
from narrows.methods.sparse.matryoshka_sae import matryoshka_sae
from narrows.objectives.nested import Prefixes, Ranks
from narrows.testing import check_method


def small(**options):
    torch.manual_seed(0)
    return matryoshka_sae((6,), **{"latents": 30, "k": 3, "dead": "none", **options}).double()


def scaled(model, x):
    """Set scales and biases to something that is not neutral."""
    with torch.no_grad():
        model.encoder.scale.fill_(0.7)
        model.decoder.scale.fill_(0.7)
        model.encoder.bias.normal_()
        model.decoder.bias.normal_()
    return Batch(x)


def by_hand(model, batch, parts, weights):
    """The sum of the losses of parts of the dense code, each decoded on its own."""
    z = model.encode(batch).z.dense()
    total = 0.0
    for part, weight in zip(parts(z), weights, strict=True):
        x_hat = (part @ model.decoder.atoms + model.decoder.bias) / model.decoder.scale
        total = total + weight * (batch.x - x_hat).square().sum(1).mean()
    return total


def prefixes_of(widths):
    return lambda z: [torch.cat([z[:, :m], torch.zeros_like(z[:, m:])], 1) for m in widths]


def ranks_of(levels):
    return lambda z: [z * (z >= z.topk(k, 1).values[:, -1:]) for k in levels]


CASES = {
    "fixed": ({"widths": (2, 5, 17)}, prefixes_of((2, 5, 17, 30)), (1, 1, 1, 1)),
    "topk prefixes": ({"widths": (4,), "activation": "topk"}, prefixes_of((4, 30)), (1, 1)),
    "uniform": ({"nesting": "topk", "levels": (1, 3, 7)}, ranks_of((1, 3, 7)), (1, 1, 1)),
    "reverse": ({"nesting": "topk", "levels": (1, 3, 7), "reverse": True}, ranks_of((1, 3, 7)), (3, 2, 1)),
}


@pytest.mark.parametrize("case", CASES)
def test_loss_and_gradients_equal_the_parts_decoded_one_by_one(case):
    options, parts, weights = CASES[case]
    model = small(**options)
    batch = scaled(model, torch.randn(25, 6, dtype=torch.float64) + 2)
    got, want = model.loss(batch).total, by_hand(model, batch, parts, weights)
    torch.testing.assert_close(got, want)
    leaves = list(model.parameters())
    for g, w in zip(torch.autograd.grad(got, leaves), torch.autograd.grad(want, leaves), strict=True):
        torch.testing.assert_close(g, w)


def test_each_segment_is_decoded_once(monkeypatch):
    model = small(widths=(2, 5, 17))
    batch = scaled(model, torch.randn(25, 6, dtype=torch.float64))
    decoded = []

    def counting(code, atoms, path="auto"):
        decoded.append(int((code.values != 0).sum()))
        return decode(code, atoms, path)

    monkeypatch.setattr("narrows.nets.dictionaries.dictionary.decode", counting)
    model.loss(batch)
    on = model.encode(batch).z
    inside = int(((on.indices < 17) & (on.values != 0)).sum())
    assert sum(decoded) == 75 + inside  # the whole once, and all but the last segment once


def test_drawn_widths_follow_the_increments_of_a_power():
    torch.manual_seed(0)
    objective = Prefixes((8, 9, 10), alpha=0.5)
    counts = torch.zeros(11)
    single = Prefixes((9, 10), alpha=0.5)
    for step in range(4000):
        single.before_step(step)
        counts[single.widths[0]] += 1
        if step < 200:
            objective.before_step(step)
            assert objective.widths.tolist() == sorted(set(objective.widths.tolist()))
            assert objective.widths[-1] == 10
    m = torch.arange(1, 10, dtype=torch.double)
    law = m.sqrt() - (m - 1).sqrt()
    torch.testing.assert_close(counts[1:10].double() / 4000, law / law.sum(), atol=0.03, rtol=0)


def test_k_is_picked_at_inference():
    model = small(nesting="topk", levels=(1, 3, 7)).eval()
    x = torch.randn(5, 6, dtype=torch.float64)
    assert model.encode(Batch(x)).z.values.shape == (5, 7)
    model.bottleneck.use(3)
    assert model.encode(Batch(x)).z.values.shape == (5, 3)


def test_the_first_latents_learn_to_reconstruct_alone():
    source = open_data("dictionary", n=4000, d=16, atoms=32, l0=3, tests=500)
    batch, errors = source.test.all(), {}
    for name, widths in (("nested", (8,)), ("flat", ())):
        torch.manual_seed(0)
        model = matryoshka_sae(source.spec, latents=64, k=3, widths=widths or (63,))
        train.optimise(model, source.train, steps=200, batch_size=128, lr=3e-3, seed=0)
        z = model.encode(batch).z.dense().detach()
        out = model.decode(torch.cat([z[:, :8], torch.zeros_like(z[:, 8:])], 1))
        errors[name] = float((out - batch.x).square().mean().detach())
    assert errors["nested"] < 0.9 * errors["flat"]


@pytest.mark.parametrize(
    "options",
    [
        {"nesting": "other"},
        {"activation": "relu"},
        {"widths": (5, 5)},
        {"widths": (30,)},
        {"nesting": "topk", "levels": (3, 2)},
        {"nesting": "topk", "levels": (31,)},
        {"nesting": "sampled", "alpha": 0.0},
        {"nesting": "sampled", "prefixes": 0},
    ],
)
def test_bad_options_are_refused(options):
    with pytest.raises(RequestError):
        small(**options)


def test_levels_must_be_positive():
    with pytest.raises(RequestError):
        Ranks((0, 3))


@pytest.mark.parametrize("nesting", ["sampled", "topk"])
def test_the_properties_hold_for_the_other_nestings(nesting):
    check_method(matryoshka_sae, Spec((12,)), latents=40, k=3, nesting=nesting)
