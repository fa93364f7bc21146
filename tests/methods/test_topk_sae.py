"""The TopK autoencoder's loss against loops in float64, and its training against known atoms."""

import copy

import pytest
import torch

from narrows import train
from narrows.core import Batch, Spec
from narrows.core.check import RequestError
from narrows.data import open as open_data
from narrows.methods.sparse.topk_sae import topk_sae
from narrows.nets.dictionaries.dictionary import geometric_median
from narrows.testing import check_method


def small(**options):
    torch.manual_seed(0)
    return topk_sae((6,), **{"latents": 30, "k": 3, **options}).double()


def by_hand(model, x, alpha, aux_k):
    """Reconstruction and auxiliary loss, one example and one latent at a time."""
    enc, dec = model.encoder, model.decoder
    s, b = float(dec.scale), dec.bias
    dead = [n for n in range(30) if model.bottleneck.idle[n] > model.objective.dead.dead_after]
    pre = [[float((s * row - b) @ enc.weight[n] + enc.bias[n]) for n in range(30)] for row in x]

    def best(row, among, k):
        return {n: max(0.0, row[n]) for n in sorted(among, key=lambda n: -row[n])[:k]}

    x_hat = torch.stack(
        [(sum(v * dec.atoms[n] for n, v in best(r, range(30), 3).items()) + b) / s for r in pre]
    )
    e = (x - x_hat).detach()
    loss = (x - x_hat).square().sum(1).mean()
    if dead:
        k = min(aux_k, len(dead))
        e_hat = torch.stack([sum(v * dec.atoms[n] for n, v in best(r, dead, k).items()) / s for r in pre])
        share = (e - e_hat).square().mean() / (e.mean(0).expand_as(e) - e).square().mean()
        loss = loss + alpha * float(model.objective.dead.variance) * share
    return loss


@pytest.mark.parametrize("dead", [0, 2, 10])
def test_loss_equals_the_equations(dead):
    model = small(dead="auxk:k=4,dead_after=50")
    x = 3 * torch.randn(200, 6, dtype=torch.float64) + 1
    with torch.no_grad():
        for part in (model.encoder, model.decoder, model.objective.dead):
            part.prepare(model, Batch(x))
        model.encoder.bias.normal_()
    torch.testing.assert_close(model.objective.dead.variance, (x - x.mean(0)).square().sum(1).mean())
    model.bottleneck.idle[:dead] = 51
    with torch.no_grad():
        want = by_hand(model, x[:20], 1 / 32, 4)
        torch.testing.assert_close(model.loss(Batch(x[:20])).total, want, atol=1e-10, rtol=1e-10)


def test_the_auxiliary_gradient_reaches_the_dead_alone():
    model = small(dead="auxk:k=4,dead_after=50")
    model.bottleneck.idle[:9] = 51
    x = torch.randn(20, 6, dtype=torch.float64)
    batch = Batch(x)
    residual = x - model.reconstruct(batch).detach()
    model.objective.dead(model, model(batch), residual).backward()
    touched = model.encoder.weight.grad.abs().sum(1) > 0
    assert touched[:9].any()
    assert not touched[9:].any()
    assert not (model.decoder.atoms.grad.abs().sum(1) > 0)[9:].any()


def test_one_example_has_no_auxiliary_loss():
    model = small(dead="auxk:dead_after=1")
    model.bottleneck.idle += 10
    loss = model.loss(Batch(torch.randn(1, 6, dtype=torch.float64)))
    assert float(loss.terms["auxk"]) == 0
    assert torch.isfinite(loss.total)


def test_the_loss_weighs_the_same_on_any_scale_of_data():
    x = torch.randn(300, 6, dtype=torch.float64)
    shares = []
    for scale in (1.0, 1000.0):
        model = small(dead="auxk:dead_after=5")
        with torch.no_grad():
            for part in (model.encoder, model.decoder, model.objective.dead):
                part.prepare(model, Batch(scale * x))
        model.bottleneck.idle[:15] = 6
        loss = model.loss(Batch(scale * x))
        shares.append(loss.total / model.objective.dead.variance)
    torch.testing.assert_close(*shares, atol=1e-6, rtol=1e-6)


def test_defaults_follow_the_sizes():
    model = topk_sae((2, 5))
    assert model.bottleneck.width == 80
    assert model.objective.dead.k == 5
    assert model.objective.dead.dead_after == 2500 * 5  # at least as many active latents, 16, as numbers, 10
    assert topk_sae((6,), dead="auxk:weight=0").loss(Batch(torch.randn(3, 6))).terms.keys() == {"distortion"}


def test_training_finds_known_atoms_and_keeps_its_constraints():
    source = open_data("dictionary", n=6000, tests=500, d=16, atoms=24, l0=2.0)
    torch.manual_seed(1)
    model = topk_sae(source.spec, latents=32, k=3)
    start = copy.deepcopy(model)
    train.optimise(model, source.train, steps=600, batch_size=256, lr=3e-3)
    found = source.truth.recovered(model.decoder.atoms.detach().numpy()).mean()
    assert found > 0.9
    assert source.truth.recovered(start.decoder.atoms.detach().numpy()).mean() < 0.7
    torch.testing.assert_close(model.decoder.atoms.norm(dim=1), torch.ones(32))
    assert (model.bottleneck.idle <= 600 * 256).all()


def test_the_bias_starts_at_the_geometric_median():
    model = topk_sae((4,), latents=8, k=2)
    x = torch.randn(100, 4).exp()
    with torch.no_grad():
        model.decoder.prepare(model, Batch(x))
    torch.testing.assert_close(model.decoder.bias / model.decoder.scale, geometric_median(x))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"k": 0}, "`k` must be a whole number"),
        ({"k": 31}, "k cannot exceed"),
        ({"latents": -3}, "`latents` must be"),
        ({"dead": "auxk:weight=-1"}, "`weight`"),
        ({"dead": "auxk:dead_after=-1"}, "`dead_after`"),
        ({"dead": "auxk:k=0.5"}, "`k`"),
    ],
)
def test_bad_options_are_refused(options, sentence):
    with pytest.raises(RequestError, match=sentence):
        topk_sae((6,), **{"latents": 30, **options})


def test_data_with_a_target_belong_to_a_transcoder():
    with pytest.raises(RequestError, match="transcoder"):
        topk_sae(Spec((6,), target=(3,)))


def test_properties_while_latents_are_dead():
    check_method(topk_sae, (12,), latents=40, k=5, dead="auxk:dead_after=3")


@pytest.mark.parametrize(("width", "rate"), [(16, 0.004), (64, 0.004), (384, 0.032 / 384**0.5)])
def test_the_learning_rate_goes_with_the_width_unless_it_is_given(width, rate):
    default_plan = topk_sae((width,), latents=8, k=2).default_plan
    for rows in (1, 1000):
        assert train.Plan.of(rows, default_plan, {"steps": 5}).lr == rate
        assert train.Plan.of(rows, default_plan, {"steps": 5, "lr": 1e-3}).lr == 1e-3
    assert topk_sae((width,), latents=8, k=2, unit_norm=False).default_plan == {}
    dying = topk_sae((width,), latents=8, k=2, dead="none").default_plan["lr"]
    assert dying == (rate if width < 96 else 0.001)


def test_the_learning_rate_is_higher_where_as_many_latents_are_active_as_an_example_has_numbers():
    rates = [topk_sae((64,), latents=128, k=k).default_plan["lr"] for k in (63, 64, 128)]
    assert rates == [0.004, 0.006, 0.006]
