"""Tilted risk against its definition in float64, and beginning from saved weights."""

import math

import pytest
import torch
from safetensors.torch import save_file

from narrows import train
from narrows.core import Batch, Spec
from narrows.core.check import RequestError, WorkError
from narrows.data import open as open_data
from narrows.methods.sparse.batchtopk_sae import batchtopk_sae
from narrows.methods.sparse.specialised_sae import specialised_sae
from narrows.methods.sparse.topk_sae import topk_sae
from narrows.objectives.tilted import Tilt, load_initial_weights
from narrows.testing import check_method
from narrows.testing.case import prepare


@pytest.mark.parametrize("t", [-3.0, -0.1, 0.1, 1.0, 5.0])
def test_the_tilted_mean_is_its_definition(t):
    losses = [0.3, 2.0, 1.1, 0.7]
    tilt = Tilt(t)
    tilt.variance.fill_(1.7)
    want = 1.7 / t * math.log(sum(math.exp(t * one / 1.7) for one in losses) / 4)
    assert float(tilt(torch.tensor(losses, dtype=torch.double))) == pytest.approx(want, rel=1e-6)


def test_limits_of_the_tilt():
    losses = torch.tensor([1.0, 5.0, 3.0])
    assert float(Tilt(0.0)(losses)) == 3
    assert float(Tilt(1e-4)(losses.double())) == pytest.approx(3, abs=1e-3)
    assert float(Tilt(1000.0)(losses)) == pytest.approx(5, abs=0.01)  # no overflow
    assert float(Tilt(-1000.0)(losses)) == pytest.approx(1, abs=0.01)


def test_gradients_weigh_examples_by_their_losses():
    losses = torch.tensor([1.0, 2.0, 4.0], dtype=torch.double, requires_grad=True)
    (grad,) = torch.autograd.grad(Tilt(0.5)(losses), losses)
    torch.testing.assert_close(grad, torch.softmax(0.5 * losses.detach(), 0))


def test_the_loss_of_a_model_is_tilted():
    torch.manual_seed(0)
    model = specialised_sae((6,), latents=30, k=3, tilt=2.0, dead="none").double()
    x = torch.randn(20, 6, dtype=torch.float64)
    with torch.no_grad():
        model.objective.reduce.prepare(model, Batch(x))
        each = (x - model.reconstruct(Batch(x))).square().sum(1)
        variance = (x - x.mean(0)).square().sum(1).mean()
        want = variance / 2 * ((2 * each / variance).exp().mean()).log()
    torch.testing.assert_close(model.loss(Batch(x)).total, want)


def test_with_relu_latents_the_price_is_tilted_too():
    torch.manual_seed(0)
    model = specialised_sae((6,), latents=30, tilt=2.0, activation="relu", l1=0.3, dead="none").double()
    x = torch.randn(20, 6, dtype=torch.float64)
    prepare(model, Batch(x))
    with torch.no_grad():
        code = model.encode(Batch(x))
        scale = model.decoder.scale
        size = (x - model.decoder.bias / scale).square().mean()
        each = (x - model.decode(code.z)).square().sum(1) + 0.3 * size * code.z.sum(1)
        variance = (x - x.mean(0)).square().sum(1).mean()
        want = variance / 2 * ((2 * each / variance).exp().mean()).log()
    torch.testing.assert_close(model.loss(Batch(x)).total, want)


def fitted(source, builder=topk_sae, **options):
    torch.manual_seed(0)
    model = builder(source.spec, **{"latents": 32, "k": 3, **options})
    train.optimise(model, source.train, steps=40, batch_size=64, lr=3e-3, seed=0)
    return model.eval()


def saved(model, folder):
    save_file(
        {k: v.detach().contiguous() for k, v in model.state_dict().items()}, folder / "model.safetensors"
    )
    return folder


@pytest.mark.parametrize("activation", ["topk", "batchtopk"])
def test_training_begins_where_the_other_run_ended(tmp_path, activation):
    source = open_data("dictionary", n=500, d=8, atoms=16, l0=2, tests=100)
    general = fitted(source, topk_sae if activation == "topk" else batchtopk_sae)
    model = specialised_sae(
        source.spec, latents=32, k=3, start=str(saved(general, tmp_path)), activation=activation
    )
    prepare(model, source.train.all())
    batch = source.test.all()
    torch.testing.assert_close(model.eval().reconstruct(batch), general.reconstruct(batch))
    train.optimise(model, source.train, steps=1, batch_size=64, lr=1e-9, seed=0)
    assert int(model.bottleneck.idle.max()) <= 64  # the other run's counts are not taken over
    torch.testing.assert_close(model.decoder.atoms, general.decoder.atoms, atol=1e-5, rtol=0)


@pytest.mark.parametrize("damage", ["missing", "other width", "no dictionary", "broken"])
def test_a_start_that_does_not_fit_is_refused_by_a_sentence(tmp_path, damage):
    model = specialised_sae((8,), latents=32, k=3)
    path = tmp_path / "model.safetensors"
    if damage == "other width":
        saved(topk_sae((8,), latents=33, k=3), tmp_path)
    elif damage == "no dictionary":
        save_file({"weight": torch.ones(2)}, path)
    elif damage == "broken":
        path.write_bytes(b"nothing")
    with pytest.raises(WorkError if damage == "broken" else RequestError, match=r"start|cannot be read"):
        load_initial_weights(model, tmp_path)


def test_without_tilt_the_properties_hold():
    check_method(specialised_sae, Spec((12,)), latents=40, k=3, tilt=0.0)
