"""Top-AFA against a search over every k, its loss against the equations, and units that cancel."""

import pytest
import torch

from narrows import train
from narrows.bottlenecks.sparse.afa import TopAFA
from narrows.core import Batch
from narrows.core.check import RequestError
from narrows.data import open as open_data
from narrows.kernels.batch import norm_top
from narrows.kernels.sparse import LazyLinear
from narrows.methods.sparse.top_afa_sae import top_afa_sae


def search(pre, target, lengths):
    """Try every k, one row at a time."""
    out = torch.zeros_like(pre)
    for row, wanted, into in zip(pre, target, out, strict=True):
        sizes = row.relu() * lengths
        order = sizes.argsort(descending=True)
        gaps = [abs(float(sizes[order[:k]].norm() - wanted)) for k in range(1, len(row) + 1)]
        chosen = order[: gaps.index(min(gaps)) + 1]
        into[chosen] = row[chosen].relu()
    return out


@pytest.mark.parametrize("size", [0.1, 1.0, 4.0, 100.0])
@pytest.mark.parametrize("free", [False, True])
def test_the_code_is_that_of_a_search_over_every_k(monkeypatch, size, free):
    monkeypatch.setattr("narrows.kernels.sparse._CHUNK", 300)
    monkeypatch.setattr("narrows.kernels.sparse._ROWS", 4)
    draw = torch.Generator().manual_seed(0)
    pre = torch.randn(13, 90, generator=draw, dtype=torch.float64)
    target = size * torch.rand(13, generator=draw, dtype=torch.float64)
    lengths = torch.rand(90, generator=draw, dtype=torch.float64) + 0.5 if free else None
    want = search(pre, target, 1.0 if lengths is None else lengths)
    torch.testing.assert_close(norm_top(pre, target, lengths).dense(), want)


@pytest.mark.parametrize("unit_norm", [True, False])
def test_the_loss_equals_the_equations(unit_norm):
    torch.manual_seed(0)
    model = top_afa_sae((6,), latents=30, afa=0.3, dead="none", unit_norm=unit_norm).double()
    x = 3 * torch.randn(20, 6, dtype=torch.float64) + 1
    with torch.no_grad():
        for part in (model.encoder, model.bottleneck, model.decoder):
            part.prepare(model, Batch(x))
        model.encoder.bias.normal_()
        if not unit_norm:
            model.decoder.atoms.mul_(torch.rand(30, 1) + 0.5)
        s, b, atoms = float(model.decoder.scale), model.decoder.bias, model.decoder.atoms
        pre = (s * x - b) @ model.encoder.weight.T + model.encoder.bias
        lengths, norm = atoms.norm(dim=1), (s * x - b).norm(dim=1)
        z = search(pre, norm, lengths)
        x_hat = (z @ atoms + b) / s
        # In units of the data: the norms are those of the scaled input, divided by the scale.
        afa = 6 * (((z * lengths).norm(dim=1) - norm) / s).square()
        want = ((x - x_hat).square().sum(1) + 0.3 * afa).mean()
    torch.testing.assert_close(model.loss(Batch(x)).total, want)


def test_folding_the_scale_changes_neither_the_code_nor_the_cost():
    torch.manual_seed(0)
    model = top_afa_sae((6,), latents=30).double().eval()
    batch = Batch(5 * torch.randn(20, 6, dtype=torch.float64) - 2)
    with torch.no_grad():
        for part in (model.encoder, model.bottleneck, model.decoder):
            part.prepare(model, batch)
        before, seen = model.encode(batch), model.reconstruct(batch)
        model.decoder.finish(model)
        after = model.encode(batch)
    assert float(model.decoder.scale) == 1
    torch.testing.assert_close(after.z.dense() != 0, before.z.dense() != 0)
    torch.testing.assert_close(after.costs["afa"], before.costs["afa"])
    torch.testing.assert_close(model.reconstruct(batch), seen)


def test_the_input_must_be_known():
    with pytest.raises(RequestError, match="keeps its input"):
        TopAFA(3)(torch.ones(2, 3))


def test_orthogonal_atoms_are_counted_exactly():
    """With orthonormal atoms and the right encoder the norm decides the number without an error."""
    codes = (torch.rand(50, 8) < 0.4) * (torch.rand(50, 8) + 0.5)
    code = TopAFA(8)(LazyLinear(codes, torch.eye(8), torch.zeros(8)))
    torch.testing.assert_close(code.z.dense(), codes)
    assert float(code.costs["afa"].max()) < 1e-6


def test_more_atoms_in_an_example_get_more_latents():
    source = open_data("dictionary", n=4000, d=32, atoms=48, l0=3, vary=0.9, tests=1000)
    torch.manual_seed(0)
    model = top_afa_sae(source.spec, latents=64)
    train.optimise(model, source.train, steps=250, batch_size=128, lr=3e-3, seed=0)
    true = torch.tensor((source.truth.test_codes != 0).sum(1)).double()
    chosen = (model.eval().encode(source.test.all()).z.values != 0).sum(1).double()
    assert float(torch.corrcoef(torch.stack([true, chosen]))[0, 1]) > 0.5
