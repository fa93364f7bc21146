"""The checks of quantisation: relative error, gain, use by position and by depth, and the picture of codes."""

import math
from dataclasses import replace

import pytest
import torch
from audit_models import codebook_model

from narrows.audit import audit
from narrows.core import Spec
from narrows.methods.quantised.fsq import fsq
from narrows.methods.quantised.rq_vae import rq_vae
from narrows.methods.quantised.vq_vae import vq_vae

SPEC = Spec((1, 8, 8), "unit")


def examined(builder, **options):
    torch.manual_seed(0)
    model = builder(SPEC, prior="none", likelihood="squared", **options).eval()
    x = torch.rand(40, 1, 8, 8)
    report = audit(model, x)
    return model, x, {check.name: check for check in report.checks}, {one.name: one for one in report.figures}


def test_the_error_is_relative_to_the_variance_of_the_tokens():
    model, x, checks, figures = examined(vq_vae, codes=8, width=4)
    with torch.no_grad():
        tokens = model.encoder(x).flatten(0, 1).double()
    codes = model.bottleneck.book.codebook.double()
    lost = torch.cdist(tokens, codes).min(-1).values.square().mean()
    variance = tokens.var(0, correction=0).sum()
    check = checks["quantisation/error"]
    assert check.value == pytest.approx(float(lost / variance), rel=1e-4)
    assert check.chance > 0
    assert check.spread > 0
    tokens_of, used = figures["codebook-axes"].series
    assert len(tokens_of.x) == len(tokens)
    assert len(used.x) == checks["codebook/used"].value


def test_a_codebook_far_from_the_tokens_is_warned_of():
    torch.manual_seed(0)
    model = vq_vae(SPEC, prior="none", likelihood="squared", codes=8, width=4).eval()
    model.bottleneck.book.codebook.mul_(0).add_(100)
    check = audit(model, torch.rand(40, 1, 8, 8)).get("quantisation/error")
    assert check.verdict == "warn"
    assert "Much of a token is lost" in check.says


def test_the_gain_of_straight_through_is_one_and_that_of_saturated_channels_is_small():
    assert examined(vq_vae, codes=8, width=4)[2]["quantisation/gradient-gain"].value == pytest.approx(1)
    assert examined(rq_vae, codes=8, width=4)[2]["quantisation/gradient-gain"].value == pytest.approx(1)
    torch.manual_seed(0)
    model = fsq(SPEC, levels=(5, 5), prior="none", likelihood="squared").eval()
    model.bottleneck.register_forward_pre_hook(lambda module, inputs: (20 * inputs[0] + 20,))
    check = audit(model, torch.rand(40, 1, 8, 8)).get("quantisation/gradient-gain")
    assert check.verdict == "warn"
    assert "saturated" in check.says


def test_the_error_of_fsq_is_that_of_its_bounded_channels():
    model, x, checks, _ = examined(fsq, levels=(5, 4))
    with torch.no_grad():
        bounded = model.bottleneck.unrounded(model.encoder(x)).flatten(0, 1).double()
        rounded = model.encode_z(x) if hasattr(model, "encode_z") else model.bottleneck(model.encoder(x)).z
    lost = (bounded - rounded.flatten(0, 1)).square().sum(-1).mean() / bounded.var(0, correction=0).sum()
    assert checks["quantisation/error"].value == pytest.approx(float(lost), rel=1e-3)


def test_use_by_depth_and_by_position():
    model, x, checks, figures = examined(rq_vae, codes=8, width=4, depth=3)
    with torch.no_grad():
        indices = model.bottleneck.to_symbols(model.bottleneck(model.encoder(x)))
    for depth in range(3):
        share = torch.bincount(indices[..., depth].flatten(), minlength=8).double() / indices[..., 0].numel()
        expected = math.exp(-sum(p * math.log(p) for p in share.tolist() if p))
        check = checks[f"codebook/depth-{depth + 1}/perplexity"]
        assert check.value == pytest.approx(expected)
        assert check.no_chance
    assert [one.name for one in figures["codebook-depths"].series] == ["code 1", "code 2", "code 3"]


def test_positions_with_entries_of_their_own():
    """A codebook of two positions, of which each always has one entry: 1 effective entry each, 2 if exchanged."""
    torch.manual_seed(0)
    model = codebook_model(codes=8, places=2)
    indices = torch.tensor([[3, 5]]).expand(64, 2)
    from narrows.audit.checks.codebook import _by_position
    from narrows.audit.evidence.view import examine

    view = replace(examine(model, torch.randn(64, 6), 64, 0), indices=indices)
    (check,) = _by_position(view, indices)
    assert check.value == pytest.approx(1)
    assert check.chance == pytest.approx(2, rel=0.05)
    assert check.spread == 0
