"""The k-sparse autoencoder against the equations, its falling k, alpha k, and multi-TopK."""

import pytest
import torch

from narrows.core import Batch
from narrows.core.check import RequestError
from narrows.methods.sparse.k_sparse_ae import k_sparse_ae
from narrows.methods.sparse.topk_sae import topk_sae
from narrows.testing import check_method
from narrows.testing.case import prepare


def made(build=k_sparse_ae, **options):
    torch.manual_seed(0)
    model = build((5,), latents=12, **{"k": 3, **options}).double()
    batch = Batch(2 * torch.randn(30, 5, dtype=torch.float64) + 1)
    prepare(model, batch)
    return model, batch


@torch.no_grad()
def decoded(model, row, k, signed=True):
    """What the k largest units of one example decode to, with one matrix both ways."""
    s, w = float(model.decoder.scale), model.encoder.rows
    shift = 0 if signed else model.decoder.bias
    h = [float((s * row - shift) @ w[n] + model.encoder.bias[n]) for n in range(12)]
    best = sorted(range(12), key=lambda n: -h[n])[:k]
    return (
        sum((h[n] if signed else max(0.0, h[n])) * model.decoder.atoms[n] for n in best) + model.decoder.bias
    ) / s


def test_one_matrix_encodes_and_decodes():
    model, batch = made(k=7)
    with torch.no_grad():
        model.encoder.bias.normal_(-2)  # negative winners pass as they are
    assert model.encoder.weight is None
    want = torch.stack([decoded(model, row, 7) for row in batch.x])
    torch.testing.assert_close(model.reconstruct(batch), want)
    assert (model.encode(batch).z.values < 0).any()
    model.loss(batch).total.backward()
    assert model.decoder.atoms.grad.abs().sum() > 0


def test_its_gradient_is_that_of_the_dense_equations():
    model, batch = made()
    model.loss(batch).total.backward()
    w, b, c = (
        p.detach().clone().requires_grad_()
        for p in (model.decoder.atoms, model.encoder.bias, model.decoder.bias)
    )
    s = model.decoder.scale
    h = s * batch.x @ w.T + b
    kept = h * (h >= h.topk(3, dim=1).values[:, -1:])
    (batch.x - (kept @ w + c) / s).square().sum(1).mean().backward()
    for mine, theirs in ((model.decoder.atoms, w), (model.encoder.bias, b), (model.decoder.bias, c)):
        torch.testing.assert_close(mine.grad, theirs.grad)


def test_alpha_k_pass_outside_training():
    model, batch = made(alpha=2.0)
    assert model.train().encode(batch).z.values.shape == (30, 3)
    assert model.eval().encode(batch).z.values.shape == (30, 6)


@pytest.mark.parametrize("build", [k_sparse_ae, topk_sae])
def test_k_falls_in_a_straight_line(build):
    model, batch = made(build, begin_k=11, anneal=80)
    seen = []
    for step in (0, 20, 40, 80, 500):
        model.bottleneck.before_step(step)
        seen.append(model.encode(batch).z.values.shape[1])
    assert seen == [11, 9, 7, 3, 3]
    assert model.eval().encode(batch).z.values.shape[1] == 3


def test_multi_topk_adds_the_error_of_a_wider_code():
    model, batch = made(topk_sae, k=2, multi_topk=0.125)
    errors = []
    for k in (2, 8):
        x_hat = torch.stack([decoded(model, row, k, signed=False) for row in batch.x])
        errors.append((batch.x - x_hat).square().sum(1).mean())
    torch.testing.assert_close(model.loss(batch).total.detach(), errors[0] + errors[1] / 8)


@pytest.mark.parametrize("options", [{"alpha": 5.0}, {"alpha": 0.0}, {"begin_k": 13}, {"anneal": -1}])
def test_bad_options_are_refused(options):
    with pytest.raises(RequestError):
        made(**options)


def test_the_properties_hold_with_multi_topk_and_a_falling_k():
    check_method(
        topk_sae, (8,), latents=24, k=3, multi_topk=0.125, begin_k=9, anneal=20, dead="ghost:dead_after=3"
    )
    check_method(k_sparse_ae, (8,), latents=24, k=3, begin_k=9, anneal=20, alpha=2.0)
