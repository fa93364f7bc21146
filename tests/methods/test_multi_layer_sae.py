"""The multi-layer autoencoder against loops in float64, and the law of total variance over layers."""

from collections import Counter
from itertools import combinations, product

import numpy as np
import pytest
import torch

from narrows.audit.metrics.depth import depth, shuffled_layers
from narrows.core import Batch, Pass, Spec
from narrows.core.check import RequestError
from narrows.methods.sparse.multi_layer_sae import multi_layer_sae
from narrows.nets.dictionaries.dictionary import geometric_median
from narrows.testing import check_method

LAYERS, WIDTH, N, K = 3, 4, 12, 2


def prepared():
    torch.manual_seed(0)
    model = multi_layer_sae((LAYERS, WIDTH), latents=N, k=K, dead="auxk:k=3,dead_after=50").double()
    sizes = torch.tensor([1.0, 5.0, 30.0], dtype=torch.float64)[:, None]
    x = sizes * (torch.randn(64, LAYERS, WIDTH, dtype=torch.float64) + 0.5)
    with torch.no_grad():
        for part in (model.encoder, model.decoder, model.objective.dead):
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
    model.bottleneck.after_step(Pass(None, code))
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


@pytest.mark.parametrize(
    ("layers", "counts"),
    [
        ([[0, 1], [1, 2], [2]], [1, 2, 2]),
        ([[0, 1, 2, 3], [0], [1, 2], [1, 3]], [2, 3, 2, 2]),
    ],
)
def test_a_control_is_the_mean_over_all_choices_of_as_many_layers(layers, counts):
    """By brute force: every way to choose as many layers a token, of which each is chosen as often."""
    size = len(counts)

    def codes(chosen):
        z = torch.zeros(len(chosen), size, 1, dtype=torch.float64)
        for t, some in enumerate(chosen):
            z[t, list(some)] = 1.0
        return z

    ways = product(*[list(combinations(range(size), len(some))) for some in layers])
    fair = [way for way in ways if [sum(m in some for some in way) for m in range(size)] == counts]
    assert len(fair) > 3
    exact = np.mean([depth(codes(way)).ratio for way in fair])
    found = Counter()
    for seed in range(600):
        control = shuffled_layers(codes(layers), seed)[..., 0]
        found[tuple(tuple(row.nonzero().flatten().tolist()) for row in control)] += 1
    assert set(found) == set(fair)  # each of them comes up, and no other
    drawn = sum(n * depth(codes(way)).ratio for way, n in found.items()) / 600
    assert drawn == pytest.approx(exact, abs=0.02)
    share = np.array([found[way] for way in fair]) / 600
    np.testing.assert_allclose(share, 1 / len(fair), atol=4 * (1 / len(fair) / 600) ** 0.5)


def test_a_control_keeps_how_many_layers_a_token_has_and_what_flows():
    """Latents on in two neighbouring layers of each token: by chance the two would be apart, and never the same."""
    draw = torch.Generator().manual_seed(0)
    start = torch.randint(0, 3, (2000, 5), generator=draw)
    layers = torch.arange(4)[None, :, None]
    z = ((layers == start[:, None]) | (layers == start[:, None] + 1)).double()
    z = z * (torch.rand(z.shape, generator=draw) + 0.5)
    control = shuffled_layers(z, 0)
    assert torch.equal((control > 0).sum(1), (z > 0).sum(1))
    assert torch.equal((control > 0).sum(0), (z > 0).sum(0))
    torch.testing.assert_close(control.sort(1).values, z.sort(1).values)
    binary = depth((control > 0).double())
    torch.testing.assert_close(binary.total, depth((z > 0).double()).total)
    assert depth((z > 0).double()).ratio == pytest.approx(0.25 / float(binary.total.mean()), rel=1e-6)
    gaps = ((control > 0) * torch.arange(4)[:, None]).double()
    own = gaps.amax(1) - torch.where(control > 0, gaps, torch.inf).amin(1)
    assert own.min() == 1  # two layers that are never the same
    assert binary.ratio == pytest.approx(float((own / 2).square().mean() / binary.total.mean()), rel=1e-6)
    assert binary.ratio > 2 * depth((z > 0).double()).ratio


def test_the_properties_hold_on_stacked_layers():
    check_method(multi_layer_sae, (3, 6), latents=48, k=4, dead="auxk:dead_after=3")


def test_bad_requests_are_sentences():
    with pytest.raises(RequestError, match="layout='stack'"):
        multi_layer_sae((2, 3, 4))
    with pytest.raises(RequestError, match="have a separate target"):
        multi_layer_sae(Spec((2, 3), target=(2, 3)))
    with pytest.raises(RequestError, match="non-negative codes"):
        depth(-torch.ones(2, 3, 4))
    with pytest.raises(RequestError, match="non-negative codes"):
        shuffled_layers(torch.ones(2, 3), 0)
