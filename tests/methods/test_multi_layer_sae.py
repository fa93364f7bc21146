"""The multi-layer autoencoder against loops in float64, and the law of total variance over layers."""

import numpy as np
import pytest
import torch

from narrows.audit.depth import depth
from narrows.check import RequestError
from narrows.core import Batch, Spec
from narrows.methods.sparse.multi_layer_sae import multi_layer_sae
from narrows.nets.dictionary import geometric_median
from narrows.testing import check_method

LAYERS, WIDTH, N, K = 3, 4, 12, 2


def prepared():
    torch.manual_seed(0)
    model = multi_layer_sae((LAYERS, WIDTH), latents=N, k=K, aux_k=3, dead_after=50).double()
    sizes = torch.tensor([1.0, 5.0, 30.0], dtype=torch.float64)[:, None]
    x = sizes * (torch.randn(64, LAYERS, WIDTH, dtype=torch.float64) + 0.5)
    with torch.no_grad():
        for part in (model.encoder, model.decoder, model.objective.revival):
            part.prepare(model, Batch(x))
        model.encoder.bias.normal_()
    return model, x


@pytest.mark.parametrize("dead", [0, 4])
def test_loss_is_a_topk_autoencoders_over_scaled_layers(dead):
    model, x = prepared()
    model.bottleneck.idle[:dead] = 51
    s = x.square().mean((0, 2)).sqrt()
    A, W = model.decoder.atoms, model.encoder.weight
    b = geometric_median((x / s[:, None]).flatten(0, 1))
    varies = (x - x.mean(0)).square().mean(0).sum(1)
    c = varies.sum() / (varies / s**2).sum()
    torch.testing.assert_close(model.decoder.bias.data, b)
    loss, back, aux = 0.0, torch.zeros_like(x[:8]), torch.zeros_like(x[:8])
    for t in range(8):
        for m in range(LAYERS):
            pre = W @ (x[t, m] / s[m] - b) + model.encoder.bias
            for n in pre.argsort(descending=True)[:K]:
                back[t, m] += s[m] * pre[n].relu().detach() * A[n].detach()
            back[t, m] += s[m] * b
            for n in pre[:dead].argsort(descending=True)[:3]:
                aux[t, m] += s[m] * pre[n].relu().detach() * A[n].detach()
            loss += c * ((x[t, m] - back[t, m]) / s[m]).square().sum() / 8
    if dead:
        e = x[:8] - back
        share = (e - aux).square().sum() / (e - e.mean(0)).square().sum()
        loss += (x - x.mean(0)).square().sum((1, 2)).mean() * share / 32
    torch.testing.assert_close(model.loss(Batch(x[:8])).total, loss, atol=1e-8, rtol=1e-8)
    torch.testing.assert_close(model.reconstruct(Batch(x[:8])), back)


def test_the_weights_know_no_layer():
    model, x = prepared()
    swapped = x.clone()
    with torch.no_grad():
        model.encoder.scale.fill_(1.0)
    z = model.encode(Batch(x)).z.dense()
    assert torch.equal(model.encode(Batch(swapped.flip(1))).z.dense(), z.flip(1))


def test_pooled_rows_are_the_plain_autoencoder():
    rows = multi_layer_sae((WIDTH,), latents=N, k=K)
    assert rows.encode(Batch(torch.randn(5, WIDTH))).z.values.shape == (5, K)


def test_a_latent_is_idle_while_it_is_on_in_no_layer():
    model, x = prepared()
    code = model.encode(Batch(x))
    on = (code.z.dense() > 0).any(0).any(0)
    model.bottleneck.after_step(code)
    assert torch.equal(model.bottleneck.idle == 0, on)
    assert (model.bottleneck.idle[~on] == 64).all()


def test_depth_obeys_the_law_of_total_variance():
    z = torch.rand(50, 4, 6, generator=torch.Generator().manual_seed(0)).double()
    z = z * (z > 0.6)
    found = depth(z)
    layer = np.arange(4)
    for n in range(6):
        w = z[:, :, n].numpy()
        mean = (w * layer).sum() / w.sum()
        total = (w * (layer - mean) ** 2).sum() / w.sum()
        within = 0.0
        for t in range(50):
            if w[t].sum():
                own = (w[t] * layer).sum() / w[t].sum()
                within += (w[t] * (layer - own) ** 2).sum() / w.sum()
        np.testing.assert_allclose(
            [found.mean[n], found.total[n], found.within[n]], [mean, total, within], atol=1e-12
        )
    assert 0 < found.ratio < 1


def test_a_control_deals_layers_out_anew():
    """Latents on in two neighbouring layers of each token: chance would spread them over all four."""
    draw = torch.Generator().manual_seed(0)
    start = torch.randint(0, 3, (2000, 5), generator=draw)
    layers = torch.arange(4)[None, :, None]
    z = ((layers == start[:, None]) | (layers == start[:, None] + 1)).double()
    found, control = depth(z), depth(z, shuffle=0)
    torch.testing.assert_close(found.total, control.total)
    assert found.ratio == pytest.approx(0.25 / float(found.total.mean()), rel=1e-6)
    assert control.ratio == pytest.approx(0.5, abs=0.02)  # two draws: half the variance lies within


def test_the_properties_hold_on_stacked_layers():
    check_method(multi_layer_sae, (3, 6), latents=48, k=4, dead_after=3)


def test_bad_requests_are_sentences():
    with pytest.raises(RequestError, match="layout='stack'"):
        multi_layer_sae((2, 3, 4))
    with pytest.raises(RequestError, match="with a target"):
        multi_layer_sae(Spec((2, 3), target=(2, 3)))
    with pytest.raises(RequestError, match="non-negative codes"):
        depth(-torch.ones(2, 3, 4))
