"""The bound's terms, its schedule, and free bits against the formula."""

import pytest
import torch

from narrows.bottlenecks.gaussian.diagonal import kl
from narrows.core import Batch, Pass
from narrows.core.check import RequestError
from narrows.methods.variational.ladder_vae import ladder_vae
from narrows.methods.variational.vae import vae

X = torch.rand(16, 6, generator=torch.Generator().manual_seed(0))


def test_total_is_distortion_plus_weighted_divergence() -> None:
    torch.manual_seed(0)
    model = vae((6,), latent=3, beta="linear:0:4:10").eval()
    for step, beta in ((0, 0.0), (5, 2.0), (20, 4.0)):
        loss = model.loss(Batch(X), step)
        code = model.encode(Batch(X))
        nll = model.likelihood.nll(model.decode(code.z), X)
        torch.testing.assert_close(loss.total, (nll + beta * kl(code.q, code.p)).mean())
        assert set(loss.terms) == {"distortion", "kl"}


def test_free_bits_is_the_mean_divergence_of_each_latent_held_above_the_floor() -> None:
    torch.manual_seed(0)
    model = vae((6,), latent=5, free_bits=0.2, beta=2.0).eval()
    loss = model.loss(Batch(X))
    by_latent = kl(model.encode(Batch(X)).q, elementwise=True).mean(0)
    assert (by_latent < 0.2).any()
    assert (by_latent > 0.2).any()
    expected = loss.terms["distortion"] + 2 * by_latent.clamp(min=0.2).sum()
    torch.testing.assert_close(loss.total, expected.detach())


def test_free_bits_leave_no_gradient_below_the_floor() -> None:
    torch.manual_seed(0)
    model = vae((6,), latent=2, free_bits=50.0)
    code = model.encode(Batch(X))
    terms = model.objective.terms(model, Pass(Batch(X), code, model.decode(code.z)))
    free = terms["kl"].mean() + terms["free_bits"]
    gradients = torch.autograd.grad(free, list(model.encoder.parameters()))
    torch.testing.assert_close(free, torch.tensor(100.0))
    assert all(gradient.abs().max() < 1e-6 for gradient in gradients)


def test_free_bits_of_a_ladder_count_by_group() -> None:
    torch.manual_seed(0)
    model = ladder_vae((6,), latent=4, layers=2, width=8, free_bits=1.0, beta=1.0).eval()
    loss = model.loss(Batch(X))
    groups = torch.stack([loss.terms["kl/0"], loss.terms["kl/1"]])
    torch.testing.assert_close(loss.terms["free_bits"], (1.0 - groups).relu().sum())
    torch.testing.assert_close(loss.total, loss.terms["distortion"] + groups.clamp(min=1.0).sum())


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(RequestError, match="free_bits"):
        vae((6,), free_bits=-1.0)
    with pytest.raises(RequestError, match="schedule"):
        vae((6,), beta="upwards")
