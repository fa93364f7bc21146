"""Mutual feature regularisation: members against autoencoders of their own, and the penalty by loops."""

import pytest
import torch

from narrows import train
from narrows.core import Batch
from narrows.core.check import RequestError
from narrows.data import open as open_data
from narrows.methods.sparse.mfr_sae import mfr_sae
from narrows.objectives.mutual import mmcs


def small(**options):
    torch.manual_seed(0)
    return mfr_sae((6,), **{"latents": 10, "k": 3, "members": 3, "dead": "none", **options}).double()


def test_mean_largest_cosine_by_loops():
    a, b = torch.randn(7, 4), torch.randn(5, 4)
    want = 0.0
    for row in a:
        want += max(float(row @ other / (row.norm() * other.norm())) for other in b) / 7
    assert float(mmcs(a, b)) == pytest.approx(want, abs=1e-6)


def test_loss_and_gradients_equal_the_equations():
    model = small(mfr=0.4)
    x = torch.randn(25, 6, dtype=torch.float64) + 1
    with torch.no_grad():
        for part in (model.encoder, model.decoder, model.objective):
            part.prepare(model, Batch(x))
        model.encoder.bias.normal_()
    enc, dec = model.encoder, model.decoder
    scaled, want, sets = x * dec.scale - dec.bias, 0.0, []
    for s in range(3):
        own = slice(10 * s, 10 * s + 10)
        pre = scaled @ enc.weight[own].T + enc.bias[own]
        z = torch.where(pre >= pre.topk(3, 1).values[:, -1:], pre, 0).relu()
        x_hat = (z @ dec.atoms[own] + dec.bias) / dec.scale
        want = want + (x - x_hat).square().sum(1).mean() / 3
        sets.append(dec.atoms[own])
    variance = (x - x.mean(0)).square().sum(1).mean()
    alike = (mmcs(sets[0], sets[1]) + mmcs(sets[0], sets[2]) + mmcs(sets[1], sets[2])) / 3
    want = want + 0.4 * variance * (1 - alike)
    got = model.loss(Batch(x)).total
    torch.testing.assert_close(got, want)
    leaves = list(model.parameters())
    for g, w in zip(torch.autograd.grad(got, leaves), torch.autograd.grad(want, leaves), strict=True):
        torch.testing.assert_close(g, w)


def test_the_reconstruction_is_the_mean_of_the_members_and_one_can_be_used_alone():
    model = small().eval()
    batch = Batch(torch.randn(9, 6, dtype=torch.float64))
    mean, outputs = model.reconstruct(batch), []
    for member in range(3):
        model.bottleneck.use(member)
        code = model.encode(batch).z
        assert code.values.shape == (9, 3)
        assert bool(((code.indices >= 10 * member) & (code.indices < 10 * member + 10)).all())
        outputs.append(model.reconstruct(batch))
        assert torch.isfinite(model.loss(batch).total)
    torch.testing.assert_close(torch.stack(outputs).mean(0), mean)
    model.bottleneck.use(None)
    torch.testing.assert_close(model.reconstruct(batch), mean)


def test_the_penalty_brings_the_members_together():
    source = open_data("dictionary", n=3000, d=12, atoms=24, l0=2, tests=10)
    alike = {}
    for weight in (0.0, 0.3):
        torch.manual_seed(0)
        model = mfr_sae(source.spec, latents=24, k=2, mfr=weight)
        train.optimise(model, source.train, steps=150, batch_size=128, lr=3e-3, seed=0)
        a, b = model.decoder.atoms.detach().split(24)
        alike[weight] = float(mmcs(a, b))
    assert alike[0.3] > alike[0.0] + 0.05


def test_one_member_is_a_topk_autoencoder_without_a_penalty():
    model = small(members=1)
    assert "mfr" not in model.loss(Batch(torch.randn(4, 6, dtype=torch.float64))).terms


@pytest.mark.parametrize("options", [{"members": 0}, {"k": 11}, {"dead": "wake"}])
def test_bad_options_are_refused(options):
    with pytest.raises(RequestError):
        small(**options)


def test_a_member_that_is_not_there_cannot_be_used():
    with pytest.raises(RequestError, match="member"):
        small().bottleneck.use(3)
