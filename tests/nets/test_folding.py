"""Scales and lengths folded into the weights: the model computes the same before and after, and twice is once."""

import copy

import pytest
import torch

from narrows import fit, resume
from narrows.core import Batch, Part, Spec, dense
from narrows.methods.index import builder
from narrows.methods.sparse.relu_sae import relu_sae
from narrows.methods.sparse.topk_sae import topk_sae
from narrows.methods.sparse.transcoder import transcoder
from narrows.testing.case import prepare

SAES = {
    "topk-sae": {"k": 4},
    "relu-sae": {},
    "relu-sae-free": {"unit_norm": False},
    "gated-sae": {},
    "jumprelu-sae": {"threshold": 0.3},
    "jumprelu-sae-raw": {"threshold": 0.3, "positive": "raw", "unit_norm": False, "penalty": "tanh"},
    "p-anneal-sae": {"p": 0.7},
    "k-sparse-ae": {"k": 5},
}


def x_of(n=40, seed=1):
    draw = torch.Generator().manual_seed(seed)
    return 7 * torch.randn(n, 6, generator=draw, dtype=torch.float64) + 20


def made(build, spec, batch, **options):
    """A prepared model with weights that are nothing special, in float64 and eval()."""
    torch.manual_seed(0)
    model = build(spec, latents=20, **options).double()
    prepare(model, batch)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.3 * torch.randn_like(p))
        if model.decoder.unit_norm:
            model.decoder.after_step(None)
    return model.eval()


def finish(model):
    with torch.no_grad():
        for part in model.modules():
            if isinstance(part, Part):
                part.finish(model)
    return model


def same(model, folded, batch, factor):
    """Reconstruction and loss are the same, and the code is the same in units of the data."""
    torch.testing.assert_close(folded.reconstruct(batch), model.reconstruct(batch), rtol=1e-9, atol=1e-9)
    before, after = model.loss(batch), folded.loss(batch)
    for name, term in before.terms.items():
        torch.testing.assert_close(after.terms[name], term, rtol=1e-8, atol=1e-8, msg=name)
    z, z_folded = (dense(m.encode(batch).z) for m in (model, folded))
    torch.testing.assert_close(z_folded, z * factor, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("case", SAES)
def test_a_folded_autoencoder_computes_the_same(case):
    name = case.removesuffix("-free").removesuffix("-raw")
    batch = Batch(x_of())
    model = made(builder(name), (6,), batch, **SAES[case])
    s = model.decoder.scale.clone()
    assert float(s) == pytest.approx(1 / 7, rel=0.2)
    folded = finish(copy.deepcopy(model))
    free = not model.decoder.unit_norm and name != "k-sparse-ae"
    lengths = model.decoder.atoms.norm(dim=1).detach()
    same(model, folded, batch, lengths / s if free else 1 / s)
    assert float(folded.decoder.scale) == float(folded.encoder.scale) == 1
    if free:
        torch.testing.assert_close(folded.decoder.atoms.norm(dim=1), torch.ones(20, dtype=torch.float64))
    again = finish(copy.deepcopy(folded))
    for key, value in folded.state_dict().items():
        torch.testing.assert_close(again.state_dict()[key], value, rtol=1e-12, atol=1e-12, equal_nan=True)


@pytest.mark.parametrize(
    "options", [{}, {"activation": "relu"}, {"skip": True}, {"skip": True, "activation": "relu"}]
)
def test_a_folded_transcoder_computes_the_same(options):
    batch = Batch(x_of(), 0.3 * x_of(seed=2)[:, :4] - 1)
    model = made(transcoder, Spec((6,), target=(4,)), batch, **{"k": 4, **options})
    folded = finish(copy.deepcopy(model))
    assert float(model.encoder.scale) != float(model.decoder.scale)
    torch.testing.assert_close(folded.reconstruct(batch), model.reconstruct(batch), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(folded.loss(batch).total, model.loss(batch).total, rtol=1e-9, atol=1e-9)
    assert float(folded.decoder.scale) == float(folded.encoder.scale) == 1


def test_free_lengths_stay_where_latents_compete():
    batch = Batch(x_of())
    model = made(topk_sae, (6,), batch, k=3, unit_norm=False)
    folded = finish(copy.deepcopy(model))
    torch.testing.assert_close(folded.decoder.atoms, model.decoder.atoms)
    same(model, folded, batch, 1 / model.decoder.scale)


def test_an_atom_of_length_zero_stays():
    batch = Batch(x_of())
    model = made(relu_sae, (6,), batch, unit_norm=False)
    with torch.no_grad():
        model.decoder.atoms[3] = 0
    folded = finish(copy.deepcopy(model))
    assert all(value.isfinite().all() for value in folded.state_dict().values())
    torch.testing.assert_close(folded.reconstruct(batch), model.reconstruct(batch), rtol=1e-9, atol=1e-9)


def test_a_fitted_run_is_folded_and_goes_on_from_its_checkpoint(tmp_path):
    options = {"latents": 16, "price_target": "l0=3", "batch_size": 32, "progress": False}
    x = x_of(200).float().numpy()
    run = fit(x, "jumprelu-sae", out=tmp_path / "short", steps=20, **options)
    assert float(run.model.decoder.scale) == float(run.model.encoder.scale) == 1
    longer = resume(tmp_path / "short", steps=40, data=x, progress=False)
    whole = fit(x, "jumprelu-sae", out=tmp_path / "whole", steps=40, **options)
    for key, value in whole.model.state_dict().items():
        assert torch.equal(longer.model.state_dict()[key].nan_to_num(), value.nan_to_num()), key
    from safetensors.torch import load_file

    assert float(load_file(tmp_path / "short" / "model.safetensors")["decoder.scale"]) == 1
