"""The scale of an encoder before training, against least squares."""

import pytest
import torch

from narrows.core import Batch, Spec, dense
from narrows.core.evidence import Latents
from narrows.methods.index import builder
from narrows.methods.sparse.transcoder import transcoder
from narrows.objectives import start
from narrows.objectives.start import scale_encoder
from narrows.testing.case import prepare

ROWS, WIDTH, LATENTS = 400, 6, 48


@pytest.fixture
def batch():
    torch.manual_seed(0)
    return Batch(5 * torch.randn(ROWS, WIDTH) @ torch.randn(WIDTH, WIDTH) + 2)


def made(name, batch, **options):
    torch.manual_seed(1)
    model = builder(name)((WIDTH,), latents=LATENTS, **options)
    prepare(model, batch)
    return model


def by_least_squares(model, batch, code):
    """The factor of a code that fits the centred and scaled data best, by a solver."""
    x = (model.decoder.scale * batch.x - model.decoder.bias).detach()
    out = (code @ model.decoder.atoms).detach()
    return float(torch.linalg.lstsq(out.reshape(-1, 1).double(), x.reshape(-1, 1).double()).solution)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("topk-sae", {"k": 12}),
        ("batchtopk-sae", {"k": 12}),
        ("matryoshka-sae", {"k": 12}),
        ("jumprelu-sae", {"price_target": "l0=12"}),
        ("gated-sae", {"price_target": "l0=12"}),
    ],
)
def test_the_encoder_starts_as_the_transpose_at_the_best_scale(name, options, batch):
    model = made(name, batch, **options)
    ratio = model.encoder.weight / model.decoder.atoms
    factor = float(ratio[0, 0])
    torch.testing.assert_close(ratio, torch.full_like(ratio, factor), rtol=1e-4, atol=0)
    assert factor < 0.9  # twelve atoms in six dimensions overlap
    code = dense(model.encode(batch).z).detach()
    assert by_least_squares(model, batch, code) == pytest.approx(1.0, abs=2e-3)
    # The code of the unscaled transpose, selected alike, is the same but for the factor.
    assert by_least_squares(model, batch, code / factor) == pytest.approx(factor, rel=5e-3)
    if "price_target" in options:
        assert float((model.encode(batch)[Latents].z != 0).sum(1).double().mean()) == pytest.approx(12.0)
    assert not scale_encoder(model, batch)


def test_an_encoder_of_another_space_and_a_tied_one_are_left_as_they_are(batch):
    torch.manual_seed(0)
    model = transcoder(Spec((WIDTH,), target=(3,)), latents=LATENTS, k=12)
    before = model.encoder.weight.detach().clone()
    prepare(model, Batch(batch.x, torch.randn(ROWS, 3)))
    assert torch.equal(model.encoder.weight, before)
    tied = made("k-sparse-ae", batch, k=12)
    assert not scale_encoder(tied, batch)


def test_a_code_that_has_the_norm_of_the_input_keeps_its_scale():
    """At half the size it needs more latents for the same norm, and they lower the error, too."""
    torch.manual_seed(0)
    batch = Batch(torch.randn(500, 32))
    model = builder("top-afa-sae")((32,), latents=128)
    prepare(model, batch)
    torch.testing.assert_close(model.encoder.weight, model.decoder.atoms)
    few = dense(model.encode(batch).z).count_nonzero()
    error = (model.reconstruct(batch) - batch.x).square().sum()
    with torch.no_grad():
        model.encoder.amplify(torch.tensor(0.5))
    assert dense(model.encode(batch).z).count_nonzero() > 1.5 * few
    assert (model.reconstruct(batch) - batch.x).square().sum() < error


def test_a_scale_that_does_not_lower_the_error_is_undone(batch, monkeypatch):
    model = made("topk-sae", batch, k=12)
    with torch.no_grad():
        model.encoder.amplify(torch.tensor(3.0))
    weight = model.encoder.weight.detach().clone()
    monkeypatch.setattr(start, "_error", lambda made, batch: torch.zeros(()))
    assert not scale_encoder(model, batch)
    torch.testing.assert_close(model.encoder.weight, weight)


def test_rounding_of_pre_activations_at_their_threshold_does_not_keep_the_scale(batch, monkeypatch):
    model = made("topk-sae", batch, k=12)
    with torch.no_grad():
        model.encoder.amplify(torch.tensor(3.0))
    counts = iter([12.06, 12.0])  # after the scaling and before it: a latent in two hundred more
    monkeypatch.setattr(start, "l0", lambda z: next(counts))
    assert scale_encoder(model, batch)
    assert next(counts, None) is None
