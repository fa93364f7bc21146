"""The crosscoder's loss by loops over layers and latents in float64, its folding, and what it refuses."""

import copy

import pytest
import torch

from narrows.core import Batch, Spec
from narrows.core.check import RequestError
from narrows.methods.sparse.crosscoder import crosscoder
from narrows.nets.dictionaries.dictionary import geometric_median
from narrows.testing import check_method

LAYERS, WIDTH, N = 3, 4, 10


def prepared(**options):
    torch.manual_seed(0)
    model = crosscoder((LAYERS, WIDTH), latents=N, **{"k": 3, **options}).double()
    sizes = torch.tensor([1.0, 5.0, 30.0], dtype=torch.float64)[:, None]
    x = sizes * torch.randn(64, LAYERS, WIDTH, dtype=torch.float64) + 2
    with torch.no_grad():
        for part in (model.encoder, model.decoder, model.bottleneck, model.objective.dead):
            if part is not None:
                part.prepare(model, Batch(x))
        model.encoder.bias.normal_()
        if not model.decoder.unit_norm:
            model.decoder.atoms.mul_(torch.rand(N, 1) + 0.5)
    return model, x


def scales(x):
    found = []
    for layer in range(LAYERS):
        part = x[:, layer]
        found.append((part - geometric_median(part)).square().mean().sqrt())
    return torch.stack(found)


def code_by_hand(model, row, s):
    """Pre-activations, one latent and one layer at a time."""
    W = model.encoder.weight.unflatten(1, (LAYERS, WIDTH))
    b = model.decoder.bias.unflatten(0, (LAYERS, WIDTH))
    return torch.stack(
        [
            model.encoder.bias[n] + sum(W[n, m] @ (row[m] / s[m] - b[m]) for m in range(LAYERS))
            for n in range(N)
        ]
    )


@pytest.mark.parametrize("activation", ["relu", "topk"])
def test_loss_is_the_equation(activation):
    model, x = prepared(activation=activation, l1=0.3)
    s = scales(x)
    A = model.decoder.atoms.unflatten(1, (LAYERS, WIDTH))
    b = model.decoder.bias.unflatten(0, (LAYERS, WIDTH))
    # The constant that brings units of each layer back to units of the data.
    varies = (x - x.mean(0)).square().mean(0).sum(1)
    c = varies.sum() / (varies / s**2).sum()
    mean_square = (x.flatten(1) - geometric_median(x.flatten(1))).square().mean()
    want = 0.0
    for row in x[:8]:
        f = code_by_hand(model, row, s).relu()
        if activation == "topk":
            f = torch.where(f >= f.sort().values[-3], f, 0)
        for m in range(LAYERS):
            x_hat = sum(f[n] * A[n, m] for n in range(N)) + b[m]
            want = want + c * (row[m] / s[m] - x_hat).square().sum() / 8
        if activation == "relu":
            price = sum(f[n] * sum(A[n, m].norm() for m in range(LAYERS)) for n in range(N))
            want = want + 0.3 * mean_square * price / 8
    torch.testing.assert_close(model.loss(Batch(x[:8])).total, want, atol=1e-8, rtol=1e-8)


def test_one_layer_in_other_units_changes_nothing_but_the_units():
    model, x = prepared(activation="topk")
    louder = x.clone()
    louder[:, 1] *= 100
    other = copy.deepcopy(model)
    with torch.no_grad():
        for part in (other.encoder, other.decoder):
            part.prepare(other, Batch(louder))
    torch.testing.assert_close(other.encode(Batch(louder)).z.dense(), model.encode(Batch(x)).z.dense())
    losses = [m.objective.distortion(m, m(b)) / v
              for m, b, v in ((model, Batch(x), (x - x.mean(0)).square().sum()),
                              (other, Batch(louder), (louder - louder.mean(0)).square().sum()))]  # fmt: skip
    torch.testing.assert_close(*losses)


@pytest.mark.parametrize("activation", ["relu", "topk", "batchtopk"])
def test_folding_computes_the_same(activation):
    model, x = prepared(activation=activation)
    model.eval()
    batch = Batch(x)
    before, loss = model.reconstruct(batch), model.loss(batch).total
    sparse = model.features(batch) > 0
    with torch.no_grad():
        model.decoder.finish(model)
    torch.testing.assert_close(model.reconstruct(batch), before)
    torch.testing.assert_close(model.loss(batch).total, loss)
    assert torch.equal(model.features(batch) > 0, sparse)
    assert (model.decoder.scale == 1).all()
    assert (model.encoder.scale == 1).all()
    if activation == "relu":  # a latent is worth what it writes
        torch.testing.assert_close(model.decoder.lengths(), torch.ones(N, dtype=torch.float64))


def test_the_properties_hold_on_stacked_layers():
    for activation in ("relu", "topk", "batchtopk"):
        check_method(crosscoder, (3, 6), latents=48, k=4, activation=activation)
    check_method(crosscoder, (3, 6), latents=48, price_target="l0=4")


@pytest.mark.parametrize(
    ("spec", "options", "sentence"),
    [
        ((12,), {}, "several layers, or models, at once"),
        (Spec((2, 3), target=(2, 3)), {}, "cross-layer-transcoder"),
        ((2, 3), {"activation": "tanh"}, "`activation` must be one of"),
        ((2, 3), {"price_target": "l0=3,fvu=0.1"}, "`l0` has no option `fvu`"),
        ((2, 3), {"latents": 4, "activation": "topk", "k": 5}, "k cannot exceed"),
    ],
)
def test_bad_requests_are_sentences(spec, options, sentence):
    with pytest.raises(RequestError, match=sentence):
        crosscoder(spec, **options)
