"""Nets of every kind take any shape, keep leading axes, see what is given, and train."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from narrows.core.check import RequestError
from narrows.nets import NETS, build
from narrows.nets.kinds import Convolutional, Perceptron
from narrows.nets.mlp import MLP

KINDS = list(NETS.parts)
SHAPES = st.one_of(
    st.tuples(st.integers(1, 40)),
    st.tuples(st.integers(1, 20), st.integers(1, 5)),
    st.tuples(st.integers(1, 4), st.integers(1, 35), st.integers(1, 35)),
)


def agree(a, b):
    torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


@settings(max_examples=40, deadline=None)
@given(shape=SHAPES, net=st.sampled_from(list(NETS)))
def test_any_shape_goes_in_and_comes_out(shape, net):
    encoder, decoder = build.encoder(shape, 3, net), build.decoder(3, shape, net)
    x = torch.rand(2, *shape)
    z = encoder(x)
    assert z.shape == (2, 3)
    y = decoder(z)
    assert y.shape == x.shape
    samples = decoder(torch.stack([z, z + 1]).unsqueeze(1))  # two sample axes
    assert samples.shape == (2, 1, *x.shape)
    agree(samples[0, 0], y)
    agree(encoder(x.expand(4, *x.shape))[2], z)


@settings(max_examples=40, deadline=None)
@given(shape=SHAPES, net=st.sampled_from(list(NETS)), downsample=st.sampled_from([1, 2, 4, 8]))
def test_grids_of_any_shape(shape, net, downsample):
    encoder = build.grid_encoder(shape, 5, downsample, net)
    decoder = build.grid_decoder(5, shape, downsample, net)
    rows, columns = encoder.grid
    assert decoder.grid == encoder.grid == build.grid_of(shape, downsample, net)
    x = torch.rand(2, *shape)
    z = encoder(x, None)
    assert z.shape == (2, rows * columns, 5)
    assert decoder(z, None).shape == x.shape
    assert decoder(z.expand(3, *z.shape)).shape == (3, *x.shape)


def test_an_images_grid_is_its_size_over_the_downsample():
    assert build.grid_encoder((3, 29, 16), 2, 4).grid == (8, 4)
    assert build.grid_encoder((3, 30, 16), 2, 3, "vit").grid == (10, 6)


@pytest.mark.parametrize("net", KINDS)
@pytest.mark.parametrize("shape", [(6,), (5, 2), (2, 9, 7)])
def test_what_is_given_is_seen_by_both_sides(net, shape):
    torch.manual_seed(0)
    encoder, decoder = (
        build.encoder(shape, 4, net, condition={"labels": 3}),
        build.decoder(4, shape, net, condition={"labels": 3}),
    )
    x = torch.rand(2, *shape)
    one, other = ({"labels": torch.eye(3)[rows]} for rows in ([0, 1], [0, 2]))
    for module, seen in ((encoder, x), (decoder, torch.randn(2, 4))):
        same, changed = (
            module(seen, one)[0] - module(seen, other)[0],
            module(seen, one)[1] - module(seen, other)[1],
        )
        assert same.abs().max() < 1e-5
        assert changed.abs().max() > 1e-4
    z = torch.randn(3, 2, 4)
    agree(decoder(z, one)[1], decoder(z[1], one))


@pytest.mark.parametrize("net", KINDS)
def test_every_parameter_gets_a_gradient_and_outputs_start_at_unit_scale(net):
    torch.manual_seed(0)
    encoder, decoder = build.encoder((1, 20, 20), 8, net), build.decoder(8, (1, 20, 20), net)
    y = decoder(torch.randn(64, 8))
    assert 0.1 < y.std().item() < 2
    (decoder(encoder(torch.rand(64, 1, 20, 20))) * torch.randn(64, 1, 20, 20)).mean().backward()
    silent = [n for m in (encoder, decoder) for n, p in m.named_parameters() if not p.grad.any()]
    # behind a layer that starts at zero, the first step moves that layer alone
    zero = "layers" if net == "skip" else "conv1"
    assert all(zero in n or "norm" in n for n in silent)


def test_auto_follows_its_rule():
    chosen = {
        s: type(build.encoder(s, 2)).__name__ for s in [(9,), (4, 3), (1, 8, 8), (3, 16, 16), (1, 64, 15)]
    }
    assert list(chosen.values()) == ["MLP", "MLP", "MLP", "ConvEncoder", "MLP"]


def test_linear_is_linear():
    torch.manual_seed(0)
    net = build.encoder((2, 3, 3), 4, "linear")
    x, y = torch.randn(2, 5, 2, 3, 3)
    agree(net(x + y) - net(y), net(x) - net(torch.zeros_like(x)))
    assert sum(p.numel() for p in net.parameters()) == 18 * 4 + 4


def test_hidden_widths_run_from_the_data_inwards():
    encoder, decoder = (f for f in (build.encoder((7,), 2, "mlp:5,3"), build.decoder(2, (7,), "mlp:5,3")))
    assert [p.shape[0] for p in encoder.parameters() if p.dim() == 2] == [5, 3, 2]
    assert [p.shape[0] for p in decoder.parameters() if p.dim() == 2] == [3, 5, 7]
    maps = [p.shape[0] for p in build.encoder((1, 32, 32), 2, "conv:4,6").down.parameters() if p.dim() == 4]
    assert maps == [4, 6]


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (lambda: build.encoder((4,), 2, "cnn"), "`net`"),
        (lambda: build.encoder((4,), 2, "mlp:0"), "`hidden`"),
        (lambda: build.encoder((4,), 2, "linear:8"), "`8` is one value too many"),
        (lambda: build.encoder((1, 8, 8), 2, "vit:width=12,heads=5"), "`heads`"),
        (lambda: build.encoder((1, 8, 8), 2, MLP((2,), (2,), ())), "or a Net"),
        (lambda: build.grid_encoder((1, 9, 9), 2, 3), "power of two"),
        (lambda: build.grid_encoder((1, 9, 9), 2, 0), "`downsample`"),
    ],
)
def test_refusals(bad, says):
    with pytest.raises(RequestError, match=says):
        bad()


def test_a_net_may_be_an_object_and_widths_of_a_grids_net_are_its_own():
    torch.manual_seed(0)
    made = build.encoder((6,), 2, Perceptron((5,)))
    torch.manual_seed(0)
    spelled = build.encoder((6,), 2, "mlp:5")
    x = torch.randn(3, 6)
    assert torch.equal(made(x), spelled(x))
    narrow = build.grid_encoder((1, 8, 8), 3, 4, Convolutional(width=8))
    assert max(p.shape[0] for p in narrow.parameters()) < 64
    wide = build.grid_encoder((1, 8, 8), 3, 4, "conv:width=96")
    assert max(p.shape[0] for p in wide.parameters()) == 96
