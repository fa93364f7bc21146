"""Grouping by hand, and the loss as that of one TopK autoencoder a group."""

import numpy as np
import pytest
import torch
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from narrows.core import Batch, Spec
from narrows.core.check import RequestError
from narrows.methods.sparse.layer_group_sae import layer_group_sae
from narrows.nets.dictionaries.dictionary import geometric_median
from narrows.nets.dictionaries.layer_groups import angles, group
from narrows.proofs.sparse._stacked import dataset
from narrows.testing import check_method
from narrows.train import optimise

LAYERS, D, N, K = 4, 5, 9, 2


def prepared(**options):
    torch.manual_seed(0)
    model = layer_group_sae((LAYERS, D), latents=N, k=K, dead="auxk:k=3,dead_after=50", **options).double()
    base = torch.randn(64, 2, D, dtype=torch.float64)
    x = base[:, [0, 1, 1, 1]] + 0.2 * torch.randn(64, LAYERS, D, dtype=torch.float64)
    x = x * torch.tensor([1.0, 4.0, 9.0, 16.0])[:, None]
    with torch.no_grad():
        for part in (model.encoder, model.decoder, model.objective.dead):
            part.prepare(model, Batch(x))
        model.encoder.bias.normal_()
    return model, x


def test_angles_by_numpy():
    x = torch.randn(20, 3, 4, dtype=torch.float64)
    want = np.zeros((3, 3))
    for i in range(3):
        for j in range(3):
            for row in x.numpy():
                cosine = row[i] @ row[j] / np.linalg.norm(row[i]) / np.linalg.norm(row[j])
                want[i, j] += np.arccos(np.clip(cosine, -1, 1)) / np.pi / 20
    np.testing.assert_allclose(angles(x).numpy(), want, atol=1e-7)


def test_groups_are_those_of_complete_linkage_where_layers_drift():
    """Where distance grows with depth, the merges are scipy's, without being told of neighbours."""
    place = np.cumsum([0.0, 1.0, 3.1, 0.9, 4.0, 1.2, 2.0])
    distance = np.abs(place[:, None] - place[None])
    tree = linkage(squareform(distance), "complete")
    for count in range(1, 8):
        theirs = fcluster(tree, count, "maxclust")
        ours = np.array(group(torch.tensor(distance), count))
        assert len(set(ours)) == count
        assert ((theirs[:, None] == theirs[None]) == (ours[:, None] == ours[None])).all()


@torch.no_grad()
@pytest.mark.parametrize("dead", [(), (0, 3, N + 1)])
def test_loss_is_a_topk_autoencoder_a_group(dead):
    model, x = prepared()
    model.eval()
    assert model.decoder.groups.tolist() == [0, 1, 1, 1]
    model.bottleneck.idle[list(dead)] = 51
    s = x.square().mean((0, 2)).sqrt()
    scaled = x / s[:, None]
    centres = [geometric_median(scaled[:, rows].flatten(0, 1)) for rows in ([0], [1, 2, 3])]
    A = model.decoder.atoms.view(2, N, D)
    varies = (x - x.mean(0)).square().mean(0).sum(1)
    c = varies.sum() / (varies / s**2).sum()
    loss, back, aux = 0.0, torch.zeros_like(x[:8]), torch.zeros_like(x[:8])
    for t in range(8):
        for m in range(LAYERS):
            g = min(m, 1)
            h = model.encoder.weight[g] @ (scaled[t, m] - centres[g]) + model.encoder.bias[g]
            x_hat = centres[g].clone()
            for n in h.argsort(descending=True)[:K]:
                x_hat += h[n].relu() * A[g, n]
            back[t, m] = s[m] * x_hat
            for n in sorted((n for n in range(N) if g * N + n in dead), key=lambda n: -h[n])[:3]:
                aux[t, m] += s[m] * h[n].relu() * A[g, n]
            loss += c * (scaled[t, m] - x_hat).square().sum() / 8
    torch.testing.assert_close(model.reconstruct(Batch(x[:8])), back)
    if dead:
        e = x[:8] - back
        share = (e - aux).square().sum() / (e - e.mean(0)).square().sum()
        loss += (x - x.mean(0)).square().sum((1, 2)).mean() * share / 32
    torch.testing.assert_close(model.loss(Batch(x[:8])).total, loss, atol=1e-8, rtol=1e-8)


@torch.no_grad()
@pytest.mark.parametrize("dead", [(), (0, 3, N + 1)])
def test_in_training_a_token_has_one_layer_of_each_group(dead):
    model, x = prepared()
    model.bottleneck.idle[list(dead)] = 51
    s = x.square().mean((0, 2)).sqrt()
    torch.manual_seed(3)
    rows = model.decoder.draw(x)
    layers = (rows[:, :, None] - (x / s[:, None])[:, None]).abs().sum(-1).argmin(-1)
    torch.testing.assert_close(rows, (x / s[:, None]).gather(1, layers[..., None].expand(-1, -1, D)))
    assert (layers[:, 0] == 0).all()
    drawn = layers[:, 1].bincount(minlength=LAYERS)[1:] / len(x)
    np.testing.assert_allclose(drawn, 1 / 3, atol=0.2)
    A, centres = model.decoder.atoms.view(2, N, D), model.decoder.bias
    varies = (x - x.mean(0)).square().mean(0).sum(1)
    c = varies.sum() / (varies / s**2).sum()
    loss, error, aux = 0.0, torch.zeros_like(rows), torch.zeros_like(rows)
    for t in range(len(x)):
        for g, members in ((0, 1), (1, 3)):
            h = model.encoder.weight[g] @ (rows[t, g] - centres[g]) + model.encoder.bias[g]
            x_hat = centres[g].clone()
            for n in h.argsort(descending=True)[:K]:
                x_hat += h[n].relu() * A[g, n]
            error[t, g] = rows[t, g] - x_hat
            for n in sorted((n for n in range(N) if g * N + n in dead), key=lambda n: -h[n])[:3]:
                aux[t, g] += h[n].relu() * A[g, n]
            loss += c * members * error[t, g].square().sum() / len(x)
    if dead:
        share = (error - aux).square().sum() / (error - error.mean(0)).square().sum()
        loss += (x - x.mean(0)).square().sum((1, 2)).mean() * share / 32
    torch.manual_seed(3)
    torch.testing.assert_close(model.loss(Batch(x)).total, loss, atol=1e-8, rtol=1e-8)


def test_a_group_of_one_layer_is_the_dictionary_of_that_layer():
    """At equal steps it is trained as the baseline is: the same weights up to rounding."""
    trained = []
    for groups, assign in ((2, (0, 1, 1, 1)), (4, (0, 1, 2, 3))):
        torch.manual_seed(0)
        x = torch.randn(96, LAYERS, D)
        model = layer_group_sae((LAYERS, D), groups=groups, assign=assign, latents=N, k=K, dead="none")
        with torch.no_grad():
            model.encoder.weight[0] = model.decoder.atoms[:N] = torch.eye(N, D)
        optimise(model, dataset(x), steps=30, batch_size=32, lr=1e-2)
        trained.append(model)
    first, second = trained
    torch.testing.assert_close(first.decoder.atoms[:N], second.decoder.atoms[:N], atol=1e-3, rtol=0)
    torch.testing.assert_close(first.encoder.weight[0], second.encoder.weight[0], atol=1e-3, rtol=0)
    assert float((first.encoder.weight[0] - torch.eye(N, D)).abs().max()) > 0.05


def test_groups_can_be_set():
    model, _ = prepared(assign=(0, 0, 1, 1))
    assert model.decoder.groups.tolist() == [0, 0, 1, 1]


def test_the_properties_hold():
    check_method(layer_group_sae, (3, 6), latents=24, k=4, dead="auxk:dead_after=3")
    check_method(layer_group_sae, (3, 6), latents=24, k=4, groups=3)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"groups": 5}, "There cannot be more groups than layers"),
        ({"assign": (0, 0, 0, 0)}, "`assign`"),
        ({"assign": (0, 1)}, "for each of 4 layers"),
        ({"latents": 3, "k": 4}, "k cannot exceed"),
    ],
)
def test_bad_options_are_sentences(options, sentence):
    with pytest.raises(RequestError, match=sentence):
        layer_group_sae((LAYERS, D), **options)
    with pytest.raises(RequestError, match="several layers"):
        layer_group_sae((12,))
    with pytest.raises(RequestError, match="have a separate target"):
        layer_group_sae(Spec((2, 3), target=(2, 3)))
