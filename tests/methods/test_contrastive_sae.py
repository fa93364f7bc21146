"""The contrastive loss by loops over pairs and latents in float64."""

import pytest
import torch

from narrows.core import Batch, Spec
from narrows.core.check import RequestError
from narrows.methods.sparse.contrastive_sae import contrastive_sae
from narrows.testing import check_method

D, N, C = 5, 12, 4


def prepared(**options):
    torch.manual_seed(0)
    model = contrastive_sae((2, D), latents=N, common=C / N, l1=0.3, contrast=0.7, **options).double()
    x = 3 * torch.randn(64, 2, D, dtype=torch.float64) + 1
    with torch.no_grad():
        for part in (model.encoder, model.decoder, model.bottleneck):
            part.prepare(model, Batch(x))
        model.encoder.bias.normal_()
    return model, x


@torch.no_grad()
def test_loss_is_the_equation():
    model, x = prepared()
    s, b, A = model.decoder.scale, model.decoder.bias, model.decoder.atoms
    unit = model.bottleneck.unit
    want = 0.0
    for pair in x[:9]:
        codes = [(model.encoder.weight @ (s * one - b) + model.encoder.bias).relu() for one in pair]
        for one, f in zip(pair, codes):
            want += (one - (f @ A + b) / s).square().sum() + 0.3 * unit * f.sum()
        for n in range(N):
            p, q = float(codes[0][n]), float(codes[1][n])
            want += 0.7 * unit * (abs(p - q) if n < C else p * q)
    torch.testing.assert_close(model.loss(Batch(x[:9])).total, want / 9, atol=1e-9, rtol=1e-9)


@torch.no_grad()
def test_a_pair_of_the_same_costs_common_latents_nothing():
    model, x = prepared()
    same = x[:, [0, 0]]
    z = model.encode(Batch(same)).z
    want = model.bottleneck.unit * z[:, 0, C:].square().sum(1).mean()
    torch.testing.assert_close(model.loss(Batch(same)).terms["contrast"], want)


@torch.no_grad()
def test_the_order_of_a_pair_does_not_matter():
    model, x = prepared()
    torch.testing.assert_close(model.loss(Batch(x.flip(1))).total, model.loss(Batch(x)).total)


def test_the_properties_hold():
    check_method(contrastive_sae, (2, 6), latents=24)
    check_method(contrastive_sae, (2, 6), latents=24, price_target="l0=3", unit_norm=False)
    assert contrastive_sae((2, 6), price_target="l0=3").objective.target.l0 == 6.0


@pytest.mark.parametrize("spec", [(12,), (3, 6)])
def test_what_is_no_pair_is_refused(spec):
    with pytest.raises(RequestError, match="pairs of activations"):
        contrastive_sae(spec)
    with pytest.raises(RequestError, match="have a separate target"):
        contrastive_sae(Spec((2, 6), target=(2, 6)))


def test_a_share_is_a_share():
    with pytest.raises(RequestError, match="`common`"):
        contrastive_sae((2, 6), common=1.0)
