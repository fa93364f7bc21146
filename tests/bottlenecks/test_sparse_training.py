"""Penalised codes that are sparse in training, against the dense computation of the same pass."""

import pytest
import torch

from narrows.bottlenecks.sparse import penalised
from narrows.core import Batch, Sparse, Spec
from narrows.core.evidence import Latents
from narrows.methods.index import builder
from narrows.testing.case import prepare

CASES = [
    ("relu-sae", {}),
    ("relu-sae", {"unit_norm": False}),
    ("relu-sae", {"by_norm": True, "centre": False}),
    ("p-anneal-sae", {}),
    ("gated-sae", {}),
    ("gated-sae", {"frozen": False, "unit_norm": False}),
    ("jumprelu-sae", {}),
    ("jumprelu-sae", {"penalty": "tanh", "ste_to_input": True, "unit_norm": False}),
    ("jumprelu-sae", {"penalty": "quadratic", "positive": "raw", "threshold": 0.5}),
    ("jumprelu-sae", {"threshold": 0.02, "bandwidth": 0.1, "ste_to_input": True}),  # bounds below 0
    ("transcoder", {"activation": "jumprelu", "skip": True}),
]


def passed(name, options, few, monkeypatch):
    """The code, the loss and all gradients of a training pass."""
    monkeypatch.setattr(penalised, "_FEW", few)
    torch.manual_seed(0)
    spec = Spec((16,), target=(16,)) if name == "transcoder" else (16,)
    model = builder(name)(spec, latents=200, price_target="l0=4", **options).double()
    x = 2 * torch.randn(64, 16, dtype=torch.float64) + 1
    batch = Batch(x, x.flip(1) if name == "transcoder" else None)
    prepare(model, batch)
    with torch.no_grad():
        for parameter in model.parameters():  # away from the symmetric start
            parameter.add_(0.05 * torch.randn_like(parameter))
        if "bandwidth" in options:
            model.encoder.bias.sub_(1)
    loss = model.loss(batch)
    loss.total.backward()
    return model, loss, {n: p.grad for n, p in model.named_parameters()}


@pytest.mark.parametrize(("name", "options"), CASES)
def test_loss_and_gradients_are_those_of_the_dense_code(name, options, monkeypatch):
    model, fast, gradients = passed(name, options, 1.0, monkeypatch)
    plain, slow, wanted = passed(name, options, -1.0, monkeypatch)
    few, all_ = fast.passed.code[Latents].z, slow.passed.code[Latents].z
    assert isinstance(few, Sparse)
    assert isinstance(all_, torch.Tensor)
    assert 0 < int((all_ != 0).sum()) < all_.numel() / 8
    torch.testing.assert_close(few.dense(), all_)
    torch.testing.assert_close(fast.terms, slow.terms)
    assert all(float(g.abs().sum()) > 0 for g in wanted.values() if g is not None)
    for found, dense in zip(gradients.values(), wanted.values(), strict=True):
        torch.testing.assert_close(found, dense, rtol=1e-9, atol=1e-12)
    for one, loss in ((model, fast), (plain, slow)):
        with torch.no_grad():
            one.bottleneck.after_step(loss.passed)
    assert torch.equal(model.bottleneck.idle, plain.bottleneck.idle)


@pytest.mark.parametrize("name", ["relu-sae", "gated-sae", "p-anneal-sae"])
def test_a_weight_that_is_not_a_number_shows_in_the_loss(name):
    torch.manual_seed(0)
    model, batch = builder(name)((16,), latents=200, price_target="l0=4"), Batch(torch.randn(64, 16))
    prepare(model, batch)
    with torch.no_grad():
        model.encoder.weight[7] = torch.nan
    assert isinstance(model.encode(batch)[Latents].z, Sparse)
    assert model.loss(batch).total.isnan()


def test_many_active_latents_stay_dense_and_so_does_inference():
    torch.manual_seed(0)
    model, batch = builder("relu-sae")((16,), latents=200), Batch(torch.randn(64, 16))
    prepare(model, batch)
    assert isinstance(model.encode(batch).z, torch.Tensor)
    with torch.no_grad():
        model.encoder.bias.sub_(8)
    assert isinstance(model.encode(batch).z, Sparse)
    model.eval()
    assert isinstance(model.encode(batch).z, torch.Tensor)
