"""The cross-layer transcoder's loss by loops over layers in float64, its reach, its folding, and its thresholds."""

import pytest
import torch

from narrows.core import Batch, Spec
from narrows.core.check import RequestError
from narrows.data.dataset import Dataset
from narrows.data.scaling import Scaling
from narrows.methods.sparse.cross_layer_transcoder import cross_layer_transcoder
from narrows.nets.dictionaries.dictionary import geometric_median
from narrows.testing import check_method
from narrows.train import optimise

LAYERS, D, E, M = 3, 4, 5, 6
SPEC = Spec((LAYERS, D), target=(LAYERS, E))


def prepared(**options):
    torch.manual_seed(0)
    model = cross_layer_transcoder(SPEC, latents=M, **{"k": 2, "sparsity": 0.3, **options}).double()
    x = torch.randn(64, LAYERS, D, dtype=torch.float64) + 1
    y = torch.tensor([1.0, 5.0, 20.0])[:, None] * torch.randn(64, LAYERS, E, dtype=torch.float64) - 2
    batch = Batch(x, y)
    with torch.no_grad():
        for part in (model.encoder, model.decoder, model.bottleneck):
            part.prepare(model, batch)
        model.encoder.bias.add_(0.3 * torch.randn(LAYERS * M))
        if not model.decoder.unit_norm:
            model.decoder.atoms.mul_(torch.rand(LAYERS * M, 1) + 0.5)
        if options.get("skip"):
            model.decoder.skip.normal_()
    return model, batch


def size(x):
    return (x - geometric_median(x)).square().mean().sqrt()


@torch.no_grad()
@pytest.mark.parametrize("activation", ["jumprelu", "relu", "topk"])
def test_loss_is_the_equation(activation):
    model, batch = prepared(activation=activation, threshold=0.2)
    x, y = batch.x, batch.target
    s_x, s_y = ([size(t[:, m]) for m in range(LAYERS)] for t in (x, y))
    W = model.encoder.weight
    b = model.encoder.bias.view(LAYERS, M)
    A = model.decoder.atoms.view(LAYERS, M, LAYERS, E)  # from layer, latent, to layer
    varies = (y - y.mean(0)).square().mean(0).sum(1)
    c = varies.sum() / sum(varies[m] / s_y[m] ** 2 for m in range(LAYERS))
    unit = size(y.flatten(1)) ** 2
    want = 0.0
    for t in range(8):
        codes = []
        for m in range(LAYERS):
            h = W[m] @ (x[t, m] / s_x[m]) + b[m]
            floor = {"jumprelu": 0.2, "relu": 0.0}.get(activation, h.sort().values[-2])
            codes.append(torch.where(h >= floor, h, 0).relu())
        for m in range(LAYERS):
            y_hat = sum(codes[n] @ A[n, :, m] for n in range(m + 1)) + model.decoder.bias.view(LAYERS, E)[m]
            want += c * (y[t, m] / s_y[m] - y_hat).square().sum() / 8
        for m in range(LAYERS):
            sizes = codes[m] * A[m].flatten(1).norm(dim=1)
            price = {"jumprelu": (4 * sizes).tanh().sum(), "relu": sizes.sum()}.get(activation, 0.0)
            want += 0.3 * unit * price / 8
    torch.testing.assert_close(model.loss(batch[:8]).total, want, atol=1e-8, rtol=1e-8)


@pytest.mark.parametrize("activation", ["jumprelu", "topk"])
def test_no_latent_ever_writes_to_an_earlier_layer(activation):
    model, batch = prepared(activation=activation)
    model = model.float()
    data = Dataset(batch.x.float(), Scaling(), (LAYERS, D), target=batch.target.float())
    optimise(model, data, steps=30, batch_size=32, lr=1e-2)
    norms = model.decoder.norms().view(LAYERS, M, LAYERS)
    for source in range(LAYERS):
        assert (norms[source, :, :source] == 0).all()
        assert (norms[source, :, source:] > 0).all()


@torch.no_grad()
def test_a_layer_is_read_by_its_own_latents_alone():
    model, batch = prepared(activation="topk")
    other = batch.x.clone()
    other[:, 1] += 1
    changed = (model.features(Batch(other)) != model.features(Batch(batch.x))).any(0).view(LAYERS, M)
    assert changed[1].any()
    assert not changed[[0, 2]].any()
    assert (model.features(Batch(batch.x)).view(-1, LAYERS, M) > 0).sum(-1).max() == 2


@torch.no_grad()
def test_the_skip_connection_adds_a_linear_map_of_each_layer():
    plain, batch = prepared()
    model, _ = prepared(skip=True)
    x, y = batch.x, batch.target
    want = plain.eval().reconstruct(batch)
    for m in range(LAYERS):
        want[:, m] += x[:, m] / size(x[:, m]) @ model.decoder.skip[m] * size(y[:, m])
    torch.testing.assert_close(model.eval().reconstruct(batch), want)


@torch.no_grad()
@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("activation", ["jumprelu", "relu", "topk"])
def test_folding_computes_the_same(activation, skip):
    model, batch = prepared(activation=activation, skip=skip)
    before, loss = model.eval().reconstruct(batch), model.loss(batch).total
    model.decoder.finish(model)
    torch.testing.assert_close(model.reconstruct(batch), before)
    torch.testing.assert_close(model.loss(batch).total, loss)
    assert (model.encoder.scale == 1).all()


def test_thresholds_learn():
    model, batch = prepared()
    model.loss(batch).total.backward()
    assert model.bottleneck.threshold.grad.any()


def test_the_properties_hold():
    more = {"skip": True, "activation": "topk", "k": 4}
    for options in ({"activation": "jumprelu"}, {"activation": "topk", "k": 4}, {"activation": "relu"}, more):
        check_method(cross_layer_transcoder, Spec((3, 6), target=(3, 6)), latents=16, **options)


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ((3, 4), "Give both"),
        (Spec((3, 4), target=(2, 4)), "the same 3 layers"),
        (Spec((4,), target=(4,)), "several layers"),
    ],
)
def test_data_that_are_not_layers_are_refused(spec, sentence):
    with pytest.raises(RequestError, match=sentence):
        cross_layer_transcoder(spec)
