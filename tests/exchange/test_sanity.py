"""The check of a configuration on activations, and the readings that it tries."""

import json
import math
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

import narrows as nr
from narrows.core.check import RequestError
from narrows.exchange.description import Description
from narrows.exchange.loading import ReadingWarning
from narrows.exchange.readings import READINGS, read_as
from narrows.exchange.sanity import measure, sanity

D, N, K = 64, 48, 5


@pytest.fixture(scope="module")
def world():
    """Data of a few atoms around a large mean, and the dictionary that made them."""
    g = torch.Generator().manual_seed(0)
    atoms = torch.linalg.qr(torch.randn(D, N, generator=g)).Q.T.contiguous()
    bias = 3 * torch.randn(D, generator=g)
    z = torch.zeros(2000, N).scatter_(1, torch.rand(2000, N, generator=g).topk(K).indices, 1.0)
    z = z * (2 + torch.rand(2000, N, generator=g))
    return atoms, bias, z @ atoms + bias


def jump(world, **changed):
    atoms, bias, _ = world
    tensors = {
        "encoder": atoms,
        "encoder_bias": torch.zeros(N),
        "decoder": atoms,
        "decoder_bias": bias,
        "threshold": torch.full((N,), 1.5),
    }
    return Description("jumprelu", tensors, promises={"l0": 5.0}, format="saelens", **changed)


def test_what_fits_is_left_alone(world):
    found = sanity(jump(world), world[2])
    assert not found.misfit
    assert found.reading == ""
    assert found.measured.fvu < 0.3


def test_l0_and_fvu_are_those_of_a_plain_computation(world):
    atoms, bias, x = world
    h = (x - bias) @ atoms.T
    z = h * (h > 1.5)
    error = (z @ atoms + bias - x).square().sum() / (x - x.mean(0)).square().sum()
    found = measure(jump(world), x)
    assert found.l0 == pytest.approx(float((z != 0).sum(1).float().mean()), abs=1e-5)
    assert found.fvu == pytest.approx(float(error), rel=1e-4)


def test_a_bias_that_should_be_subtracted_is_found(world):
    wrong = jump(world, centre=False)
    found = sanity(wrong, world[2])
    assert found.misfit
    assert found.reading == "centre"
    assert "the decoder's bias subtracted" in found.says
    assert f"L0 {found.better.l0:,.3g} instead of {found.measured.l0:,.4g}" in found.says
    assert sanity(read_as(wrong, found.reading), world[2]).misfit is False


@pytest.mark.parametrize("promised", [("l0", "fvu"), ("l0",), ()])
def test_every_wrong_reading_is_found_and_no_right_one_is_doubted(world, promised):
    x = world[2] + 0.2 * torch.randn(world[2].shape, generator=torch.Generator().manual_seed(1))
    known = replace(jump(world), promises={}, metadata={"norm": float(x.norm(dim=1).mean())})
    level = measure(known, x[:512])
    right = replace(known, promises={name: getattr(level, name) for name in promised})
    own = sanity(right, x)
    assert not own.misfit
    assert own.reading == ""
    tried = {name: change(right) for name, (_, change) in READINGS.items()}
    wrong = {name: one for name, one in tried.items() if one and not _same(measure(one, x[:512]), level)}
    assert {"no-centre", "threshold-down", "scaled", "norm-layer"} <= wrong.keys()
    for name, one in wrong.items():
        found = sanity(one, x)
        assert found.better is not None, name
        assert _same(found.better, level), name
        assert found.reading in found.says


def _same(one, other):
    return one.l0 == pytest.approx(other.l0, rel=0.1) and one.fvu == pytest.approx(other.fvu, rel=0.1)


def test_a_threshold_in_other_units_is_found(world):
    right = jump(world)
    stored = (
        right.tensors["threshold"] * 3
    )  # in units in which the data have norm sqrt(d): sqrt(64) / 24 = 1 / 3
    wrong = replace(right, tensors={**right.tensors, "threshold": stored}, metadata={"norm": 24.0})
    found = sanity(wrong, world[2])
    assert found.measured.l0 == 0
    assert found.reading == "threshold-up=24"
    assert found.better.l0 == pytest.approx(K)


def test_a_transposed_square_matrix_is_found_by_data():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(2000, D, generator=g)
    basis = torch.linalg.qr(torch.randn(D, D, generator=g)).Q
    tensors = {
        "encoder": basis,
        "encoder_bias": torch.full((D,), 9.0),
        "decoder": basis,
        "decoder_bias": -9 * basis.sum(0),
    }
    right = Description("relu", tensors, centre=False)
    assert sanity(right, x).reading == ""
    assert "square matrices read best as they are stored" in sanity(right, x).says
    wrong = replace(right, tensors={**tensors, "encoder": basis.T})
    found = sanity(wrong, x)
    assert found.reading == "transposed-encoder"
    assert found.better.fvu < 1e-3


def test_activations_of_another_width_are_refused(world):
    with pytest.raises(RequestError, match="width 7, and this jumprelu sae"):
        sanity(jump(world), torch.zeros(9, 7))


def test_noise_of_the_stated_norm_shows_a_gross_misfit(world):
    right = replace(jump(world), promises={"l0": 3.0}, metadata={"norm": 1.0})
    assert sanity(replace(right, metadata={})) is None
    dense = replace(right, tensors={**right.tensors, "encoder_bias": torch.full((N,), 5.0)}, centre=False)
    found = sanity(dense)
    assert found.misfit
    assert found.on == "noise"
    assert math.isnan(found.measured.fvu)


def test_loading_says_so_and_a_reading_is_chosen(world, tmp_path):
    atoms, bias, x = world
    tensors = {"W_enc": atoms.T.contiguous(), "W_dec": atoms.clone(), "b_enc": torch.zeros(N), "b_dec": bias}
    save_file({**tensors, "threshold": torch.full((N,), 1.5)}, tmp_path / "sae_weights.safetensors")
    config = {"architecture": "jumprelu", "d_in": D, "d_sae": N, "apply_b_dec_to_input": False}
    (tmp_path / "cfg.json").write_text(json.dumps({**config, "metadata": {"l0": 5.0}}))
    with pytest.warns(ReadingWarning, match="It reads better with the decoder's bias subtracted"):
        nr.load(tmp_path, activations=x)
    run = nr.load(tmp_path, reading="centre", activations=x)  # a warning would be an error here
    assert run.recipe.arguments["centre"] is True


def test_a_reading_with_the_norm_of_the_data(world):
    known = read_as(jump(world), "scaled=12")
    assert known.scale == pytest.approx((D**0.5 / 12, D**0.5 / 12))
    with pytest.raises(RequestError, match="a name with the norm"):
        read_as(jump(world), "scaled=much")
