"""Gated latents and their loss by hand, one example and one latent at a time."""

import math

import pytest
import torch

from narrows.bottlenecks.sparse.gated import Gated
from narrows.core import Batch, Pass
from narrows.methods.sparse.gated_sae import gated_sae
from narrows.testing.case import prepare


def made(**options):
    torch.manual_seed(0)
    model = gated_sae((4,), latents=10, l1=0.3, **options).double()
    batch = Batch(3 * torch.randn(12, 4, dtype=torch.float64) + 1)
    prepare(model, batch)
    with torch.no_grad():
        for p in (model.encoder.bias, model.bottleneck.log_gain, model.bottleneck.bias):
            p.add_(0.5 * torch.randn_like(p))
    return model, batch


@torch.no_grad()
def paths(model, row):
    """Gate and code of one example."""
    enc, dec, gated = model.encoder, model.decoder, model.bottleneck
    product = [float((dec.scale * row - dec.bias) @ enc.weight[n]) for n in range(10)]
    gate = [p + float(b) for p, b in zip(product, enc.bias, strict=True)]
    sizes = [
        math.exp(float(r)) * p + float(b) for p, r, b in zip(product, gated.log_gain, gated.bias, strict=True)
    ]
    return gate, [max(0.0, m) if g > 0 else 0.0 for g, m in zip(gate, sizes, strict=True)]


def test_the_loss_equals_the_equations():
    model, batch = made()
    dec, total = model.decoder, 0.0
    for row in batch.x:
        gate, z = paths(model, row)
        gate = [max(0.0, g) for g in gate]
        for code, weight in ((z, 1), (gate, 1)):
            x_hat = (sum(v * dec.atoms[n] for n, v in enumerate(code)) + dec.bias) / dec.scale
            total += weight * float((row - x_hat).detach().square().sum())
        total += 0.3 * float(model.bottleneck.unit) * sum(gate)
    assert float(model.loss(batch).total.detach()) == pytest.approx(total / 12, rel=1e-10)
    # The unit is the mean square of the data around their middle.
    middle = (dec.bias / dec.scale).detach()
    assert float(model.bottleneck.unit) == pytest.approx(float((batch.x - middle).square().mean()), rel=1e-9)


def test_the_code_equals_the_equations():
    model, batch = made()
    want = torch.tensor([paths(model, row)[1] for row in batch.x], dtype=torch.float64)
    torch.testing.assert_close(model.encode(batch).z, want)
    assert (want != 0).any()
    assert (want == 0).any()


@pytest.mark.parametrize("frozen", [True, False])
def test_the_auxiliary_loss_teaches_the_decoder_only_where_it_is_not_frozen(frozen):
    model, batch = made(frozen=frozen)
    terms = model.objective.extra(model, model(batch))
    terms["gate"].sum().backward()
    # The decoder's bias is the encoder's centre too, so that only the atoms tell.
    assert (model.decoder.atoms.grad is None) == frozen
    assert model.encoder.weight.grad.abs().sum() > 0
    assert model.bottleneck.log_gain.grad is None


def test_the_reconstruction_does_not_teach_the_gate():
    model, batch = made()
    code = model.encode(batch)
    model.objective.distortion(model, Pass(batch, code, model.decode(code.z))).sum().backward()
    assert model.encoder.bias.grad is None or not model.encoder.bias.grad.any()
    assert model.bottleneck.bias.grad.abs().sum() > 0


def test_free_atoms_are_paid_by_their_length():
    model, batch = made(unit_norm=False)
    with torch.no_grad():
        model.decoder.atoms.mul_(torch.arange(1.0, 11.0, dtype=torch.float64)[:, None])
    unit = float(model.bottleneck.unit)
    want = [unit * sum((n + 1) * max(0.0, g) for n, g in enumerate(paths(model, row)[0])) for row in batch.x]
    assert model.encode(batch).costs["l1"].tolist() == pytest.approx(want)


def test_reset_makes_both_paths_one():
    net = Gated(3)
    with torch.no_grad():
        net.log_gain.fill_(1.0)
        net.bias.fill_(2.0)
        touched = net.reset(torch.tensor([0, 2]))
    assert [p is q for p, q in zip(touched, (net.log_gain, net.bias), strict=True)] == [True, True]
    assert net.log_gain.tolist() == [0, 1, 0]
    assert net.bias.tolist() == [0, 2, 0]
