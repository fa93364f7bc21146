"""Norms of each example, codes in units of the atoms' norms, and a bias that is not subtracted."""

import pytest
import torch
from torch.nn import functional as F

from narrows.core import Batch, dense
from narrows.core.check import RequestError
from narrows.methods.index import builder
from narrows.nets.dictionaries.token_norm import normalise, restore

X = torch.randn(30, 6, generator=torch.Generator().manual_seed(0)) * 3 + 1
METHODS = ["relu-sae", "topk-sae", "abstopk-sae", "batchtopk-sae", "jumprelu-sae", "gated-sae"]


def test_layer_norm_has_mean_0_and_variance_1():
    x, moments = normalise(X, "layer")
    expected = F.layer_norm(X, (6,), eps=0) * (5 / 6) ** 0.5  # torch divides by D, this by D - 1
    assert torch.allclose(x, expected, atol=1e-4)
    assert torch.allclose(restore(x, moments), X, atol=1e-4)


def test_length_is_the_root_of_the_width_and_zeros_stay():
    x, moments = normalise(torch.cat([X, torch.zeros(1, 6)]), "length")
    assert torch.allclose(x[:-1].norm(dim=1), torch.full((30,), 6**0.5))
    assert torch.equal(x[-1], torch.zeros(6))
    assert torch.allclose(restore(x, moments)[:-1], X, atol=1e-5)


def test_mean_is_subtracted_and_added_back():
    x, moments = normalise(X, "mean")
    assert torch.allclose(x, X - X.mean(1, keepdim=True))
    assert torch.allclose(restore(x, moments), X, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("norm", ["mean", "layer", "length"])
def test_a_model_is_that_of_normalised_data_with_the_norm_put_back(method, norm):
    torch.manual_seed(0)
    model = builder(method)((6,), latents=24, dead="none", normalise=False, token_norm=norm).eval()
    torch.manual_seed(0)
    plain = builder(method)((6,), latents=24, dead="none", normalise=False).eval()
    plain.load_state_dict(model.state_dict())
    x, moments = normalise(X, norm)
    code, expected = model.encode(Batch(X)), plain.encode(Batch(x))
    assert torch.equal(dense(code.z[0]), dense(expected.z))
    assert torch.allclose(
        model.reconstruct(Batch(X)), restore(plain.reconstruct(Batch(x)), moments), atol=1e-5
    )


@pytest.mark.parametrize("method", METHODS)
def test_a_bias_that_is_not_subtracted(method):
    torch.manual_seed(0)
    model = builder(method)((6,), latents=24, normalise=False, centre=False).eval()
    assert torch.allclose(model.encoder(X).dense(), X @ model.encoder.weight.T + model.encoder.bias)
    model.decoder.bias.data.normal_()
    assert torch.allclose(model.encoder(X).dense(), X @ model.encoder.weight.T + model.encoder.bias)


def test_selection_by_the_norms_of_the_atoms():
    torch.manual_seed(0)
    model = builder("topk-sae")((6,), latents=12, k=3, normalise=False, unit_norm=False, by_norm=True).eval()
    model.decoder.atoms.data.mul_(torch.rand(12, 1) + 0.1)
    atoms, norms = model.decoder.atoms, model.decoder.atoms.norm(dim=1)
    h = ((X - model.decoder.bias) @ model.encoder.weight.T + model.encoder.bias) * norms
    values, indices = h.topk(3)
    code = torch.zeros(30, 12).scatter(1, indices, values.relu())
    assert torch.allclose(dense(model.encode(Batch(X)).z), code, atol=1e-5)
    assert torch.allclose(model.reconstruct(Batch(X)), code / norms @ atoms + model.decoder.bias, atol=1e-5)


@pytest.mark.parametrize("method", ["relu-sae", "topk-sae", "gated-sae", "jumprelu-sae"])
@pytest.mark.parametrize(
    "options", [{"token_norm": "layer"}, {"by_norm": True, "unit_norm": False}, {"centre": False}]
)
def test_training_folds_its_scale_and_keeps_the_results(method, options):
    torch.manual_seed(0)
    model = builder(method)((6,), latents=24, dead="none", **options)
    with torch.no_grad():
        model.apply(lambda part: part.prepare(model, Batch(X)) if hasattr(part, "prepare") else None)
    loss = model.loss(Batch(X)).total
    loss.backward()
    assert torch.isfinite(loss)
    before = model.eval().reconstruct(Batch(X))
    with torch.no_grad():
        model.decoder.finish(model)
    assert torch.allclose(model.reconstruct(Batch(X)), before, atol=1e-4)
    assert float(model.decoder.scale) == 1.0


def test_dead_latents_are_not_treated_with_a_norm():
    with pytest.raises(RequestError, match="dead='none'"):
        builder("topk-sae")((6,), latents=24, token_norm="layer")
    with pytest.raises(RequestError, match="one of `none`, `mean`"):
        builder("topk-sae")((6,), latents=24, token_norm="batch", dead="none")


def test_the_largest_of_each_group():
    torch.manual_seed(0)
    model = builder("topk-sae")((6,), latents=12, k=3, groupmax=True).eval()
    h = model.encoder(X).dense()
    expected = torch.zeros(30, 12)
    for group in range(3):
        best = h[:, 4 * group : 4 * group + 4].argmax(1) + 4 * group
        expected[torch.arange(30), best] = h[torch.arange(30), best].relu()
    assert torch.allclose(dense(model.encode(Batch(X)).z), expected)
    with pytest.raises(RequestError, match="a divisor of the number of latents"):
        builder("topk-sae")((6,), latents=12, k=5, groupmax=True)


@pytest.mark.parametrize("residual", [0.0, 2.0])
@pytest.mark.parametrize("repeat", [False, True])
def test_a_pursuit_stops_like_a_loop_over_examples(residual, repeat):
    torch.manual_seed(0)
    atoms = F.normalize(torch.randn(10, 6), dim=1)
    model = builder("mp-sae")(
        (6,), latents=10, k=8, residual=residual, stop_on_repeat=repeat, normalise=False
    ).eval()
    model.decoder.atoms.data.copy_(atoms)
    expected = torch.zeros(30, 10)
    for row, x in enumerate(X):
        rest, seen = x.clone(), set()
        for _ in range(8):
            j = int((atoms @ rest).argmax())
            value = (atoms[j] @ rest).relu()
            expected[row, j] += value
            rest = rest - value * atoms[j]
            if rest.norm() < residual or (repeat and (j in seen or value == 0)):
                break
            seen.add(j)
    assert torch.allclose(dense(model.encode(Batch(X)).z), expected, atol=1e-4)
