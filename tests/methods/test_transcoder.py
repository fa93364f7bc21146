"""The transcoder's losses by hand, its skip, and the refusal of data without a target."""

import pytest
import torch

from narrows.core import Batch, Spec
from narrows.core.check import RequestError
from narrows.methods.sparse.transcoder import transcoder
from narrows.nets.dictionaries.dictionary import geometric_median

SPEC = Spec((5,), target=(3,))


def prepared(**options):
    torch.manual_seed(0)
    model = transcoder(SPEC, latents=12, **{"k": 3, **options}).double()
    x = 2 * torch.randn(64, 5, dtype=torch.float64) + 1
    y = 5 * torch.randn(64, 3, dtype=torch.float64) - 2
    batch = Batch(x, y)
    with torch.no_grad():
        for part in (model.encoder, model.decoder, model.bottleneck):
            part.prepare(model, batch)
    return model, batch


def spread(x):
    return (x - geometric_median(x)).square().mean().sqrt()


def test_relu_loss_is_the_papers():
    model, batch = prepared(activation="relu", l1=0.3)
    enc, dec = model.encoder, model.decoder
    s_x, s_y = spread(batch.x), spread(batch.target)
    z = ((batch.x / s_x) @ enc.weight.T + enc.bias).relu()
    y_hat = (z @ dec.atoms + dec.bias) * s_y
    # Latents are in units of the target's scale, and so is their price.
    want = (batch.target - y_hat).square().sum(1) + 0.3 * s_y**2 * z.sum(1)
    torch.testing.assert_close(model.loss(batch).total, want.mean(), atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("activation", ["topk", "relu"])
def test_a_skip_adds_a_linear_map_of_the_input(activation):
    model, batch = prepared(activation=activation, k=2, skip=True)
    plain = model.reconstruct(batch)
    linear = torch.randn_like(model.decoder.skip)
    with torch.no_grad():
        assert not model.decoder.skip.any()  # it starts at 0
        model.decoder.skip.copy_(linear)
    s_x, s_y = spread(batch.x), spread(batch.target)
    want = plain + (batch.x / s_x) @ linear * s_y
    torch.testing.assert_close(model.reconstruct(batch), want, atol=1e-9, rtol=1e-9)


def test_pre_activations_start_at_zero_for_the_median_input():
    model, batch = prepared()
    pre = model.encoder(geometric_median(batch.x)[None]).dense()
    torch.testing.assert_close(pre, torch.zeros_like(pre), atol=1e-9, rtol=0)


def test_the_sizes_of_both_sides_may_differ():
    model = transcoder(Spec((2, 4), target=(3, 5)), latents=20, k=2)
    assert model.reconstruct(Batch(torch.randn(6, 2, 4), torch.randn(6, 3, 5))).shape == (6, 3, 5)


def test_data_without_a_target_are_refused():
    with pytest.raises(RequestError, match="no target") as refused:
        transcoder((5,))
    assert "`target`" in str(refused.value)


def test_an_unknown_activation_is_refused():
    with pytest.raises(RequestError, match="`activation` must be one of `topk`, `relu`, `jumprelu`"):
        transcoder(SPEC, activation="gelu")


@pytest.mark.parametrize("activation", ["relu", "jumprelu"])
def test_a_price_is_steered_to_a_target(activation):
    from narrows import train
    from narrows.data.dataset import Dataset
    from narrows.data.scaling import Scaling
    from narrows.kernels.metrics import l0

    draw = torch.Generator().manual_seed(0)
    read, write = torch.randn(8, 24, generator=draw), torch.randn(24, 8, generator=draw)
    x = torch.randn(8000, 8, generator=draw)
    y = (x @ read - 3).relu() @ write
    torch.manual_seed(0)
    model = transcoder(Spec((8,), target=(8,)), latents=48, activation=activation, price_target="l0=2")
    train.optimise(model, Dataset(x, Scaling(), (8,), target=y), steps=800, batch_size=128, lr=3e-3)
    assert l0(model.encode(Batch(x, y)).z) == pytest.approx(2.0, rel=0.05 if activation == "relu" else 0.1)


def test_topk_has_no_price_to_steer():
    with pytest.raises(RequestError, match="Set `k`"):
        transcoder(SPEC, latents=24, price_target="l0=5")


@pytest.mark.parametrize("dead", ["resample", "ghost", "preact"])
def test_the_properties_hold_whatever_is_done_for_the_dead(dead):
    from narrows.testing import check_method

    check_method(transcoder, SPEC, latents=24, activation="jumprelu", dead=f"{dead}:dead_after=3")
