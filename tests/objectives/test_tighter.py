"""MIWAE, CIWAE and PIWAE: bounds against loops, with M and K told apart, and gradients against two passes."""

import math

import pytest
import torch
from torch import Tensor

from narrows.core import Autoencoder, Batch, Objective
from narrows.core.check import RequestError
from narrows.methods.variational.ciwae import ciwae
from narrows.methods.variational.iwae import iwae
from narrows.methods.variational.miwae import miwae
from narrows.methods.variational.piwae import piwae
from narrows.objectives.importance import Combined, Importance, Partial, importance_bound

D, Z, M, K = 4, 2, 2, 8


def model() -> tuple[Autoencoder, Batch]:
    torch.manual_seed(0)
    built = iwae((D,), latent=Z, net="mlp:8").double()
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return built, Batch(torch.randn(5, D, dtype=torch.float64))


def gradients(
    objective: Objective, built: Autoencoder, batch: Batch
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """The loss, and its gradients for the encoder and for the rest, with the same draws each time."""
    torch.manual_seed(7)
    loss = objective(built, batch).total
    sides = list(built.encoder.parameters()), [*built.decoder.parameters(), *built.likelihood.parameters()]
    found = torch.autograd.grad(loss, [p for side in sides for p in side])
    return loss.detach(), list(found[: len(sides[0])]), list(found[len(sides[0]) :])


def test_m_and_k_are_told_apart() -> None:
    """The mean over M bounds of K samples each, not over K bounds of M samples."""
    nats = 3 * torch.randn(K, M, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    bounds = [
        math.log(sum(math.exp(-float(nats[k, m, b])) for k in range(K)) / K)
        for m in range(M)
        for b in range(3)
    ]
    value = -sum(bounds) / len(bounds)
    objective = Importance(K, estimates=M)
    assert objective.samples == (K, M)
    assert float(objective.reduce(nats)) == pytest.approx(value)
    assert abs(float(importance_bound(nats.transpose(0, 1))) - value) > 0.1
    assert miwae((D,), samples=K, estimates=M).objective.samples == (K, M)
    assert piwae((D,), samples=K, estimates=M).objective.samples == (K, M)


def test_more_estimates_make_the_same_bound_less_noisy() -> None:
    built, batch = model()
    with torch.no_grad():
        one = torch.stack([Importance(K)(built, batch).total for _ in range(3000)])
        many = torch.stack([Importance(K, estimates=8)(built, batch).total for _ in range(400)])
    assert (
        abs(float(one.mean() - many.mean())) < 4 * float(one.std()) / 3000**0.5 + 4 * float(many.std()) / 20
    )
    assert float(many.var()) == pytest.approx(float(one.var()) / 8, rel=0.35)


def test_ciwae_mixes_the_gradients_of_both_bounds() -> None:
    built, batch = model()
    loose, tight = Combined(K, beta=1.0), Importance(K)
    parts, mixed = [gradients(each, built, batch) for each in (loose, tight)], Combined(K, beta=0.3)
    found = gradients(mixed, built, batch)
    torch.testing.assert_close(found[0], 0.3 * parts[0][0] + 0.7 * parts[1][0])
    for side in (1, 2):
        for got, one, other in zip(found[side], parts[0][side], parts[1][side], strict=True):
            torch.testing.assert_close(got, 0.3 * one + 0.7 * other)
    with torch.no_grad():
        torch.manual_seed(7)
        terms = built(batch, (K,))
        elbo = (built.likelihood.pass_nll(terms) + terms.code.costs["kl"]).mean()
    torch.testing.assert_close(parts[0][0], elbo)


def test_piwae_has_the_gradients_of_two_passes() -> None:
    built, batch = model()
    both = gradients(Partial(K, estimates=M), built, batch)
    wide = gradients(Importance(M * K), built, batch)
    mean = gradients(Importance(K, estimates=M), built, batch)
    torch.testing.assert_close(both[0], wide[0])
    for got, expected in zip(both[2], wide[2], strict=True):
        torch.testing.assert_close(got, expected)
    for got, expected in zip(both[1], mean[1], strict=True):
        torch.testing.assert_close(got, expected)
    assert any(not torch.allclose(a, b, rtol=0.01) for a, b in zip(wide[1], mean[1], strict=True))


def test_piwae_has_the_encoder_s_gradients_where_one_group_has_all_the_weight() -> None:
    """Log-weights of groups that differ by hundreds of nats: in single precision the share of one is 0."""
    built, batch = model()
    built = built.float()
    batch = Batch(40 * batch.x.float())
    torch.manual_seed(7)
    nats = -built.likelihood.pass_nll(built(batch, (K, M))).logsumexp(0)
    assert float((nats[0] - nats[1]).abs().max()) > 200
    both = gradients(Partial(K, estimates=M), built, batch)
    wide = gradients(Importance(M * K), built, batch)
    mean = gradients(Importance(K, estimates=M), built, batch)
    for found, expected in ((both[1], mean[1]), (both[2], wide[2])):
        for got, one in zip(found, expected, strict=True):
            assert got.isfinite().all()
            torch.testing.assert_close(got, one, rtol=1e-3, atol=1e-3 * float(one.abs().max()))


def test_of_one_estimate_all_are_the_iwae() -> None:
    built, batch = model()
    expected = gradients(Importance(K), built, batch)
    for objective in (Importance(K, estimates=1), Combined(K, beta=0.0), Partial(K, estimates=1)):
        found = gradients(objective, built, batch)
        for got, one in zip((*found[1], *found[2]), (*expected[1], *expected[2]), strict=True):
            torch.testing.assert_close(got, one)


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(RequestError, match="estimates"):
        miwae((D,), estimates=0)
    with pytest.raises(RequestError, match="beta"):
        ciwae((D,), beta=1.5)
    with pytest.raises(RequestError, match="samples"):
        piwae((D,), samples=0)
