"""Linear-Gaussian posteriors against closed forms of the optimum, and against Monte Carlo."""

import math

import numpy as np
import pytest
import torch
from torch.distributions import MultivariateNormal, kl_divergence

from narrows.audit.evidence.likelihood import importance_nll
from narrows.bottlenecks.gaussian.linear import LinearChain
from narrows.core import Batch, Spec
from narrows.core.check import RequestError
from narrows.methods.variational.linear_cvae import linear_cvae
from narrows.methods.variational.linear_hvae import linear_hvae


def test_expected_divergences_of_two_levels_are_means_of_log_ratios() -> None:
    torch.manual_seed(0)
    chain = LinearChain((3, 2), noise=0.7).double()
    with torch.no_grad():
        chain.first.log_variance.normal_()
        chain.second.log_variance.normal_()
    h = torch.randn(4, 3, dtype=torch.float64)
    with torch.no_grad():
        exact, drawn = chain(h).costs, chain(h, samples=(100_000,)).costs
    for name in ("kl/0", "kl/1"):
        error = drawn[name].std(0) / 100_000**0.5
        assert ((exact[name] - drawn[name].mean(0)).abs() < 4.5 * error).all()


def test_the_optimum_of_the_linear_vae_is_the_closed_form() -> None:
    """At the closed form, the gradient of the loss is zero, and the rates are those of the paper."""
    rng, beta, v = np.random.default_rng(0), 0.7, 0.3
    x = rng.standard_normal((400, 4)) @ rng.standard_normal((4, 4))
    x -= x.mean(0)
    values, axes = np.linalg.eigh(x.T @ x / len(x))
    values, axes = values[::-1], axes[:, ::-1]
    assert values[1] > beta * v
    model = linear_cvae((4,), latent=2, beta=beta, variance=v).double().eval()
    scale = np.sqrt(values[:2] - beta * v)
    with torch.no_grad():
        encoder, decoder = model.encoder.map, model.decoder.layers[-1]
        decoder.weight.copy_(torch.tensor(axes[:, :2] * scale))
        encoder.weight.copy_(torch.tensor((axes[:, :2] * scale / values[:2]).T))
        encoder.bias.zero_()
        decoder.bias.zero_()
        model.bottleneck.variance.log_variance.copy_(torch.tensor(np.log(beta * v / values[:2])))
    batch = Batch(torch.tensor(x))
    code = model.encode(batch)
    # E_z |x - U z|^2 by hand: at the mean, plus the trace of U S U'
    spread = (decoder.weight.square() @ model.bottleneck.variance()).sum()
    distortion = ((decoder(code.z) - batch.x).square().sum(1) + spread) / (2 * v)
    (distortion + beta * code.rate).mean().backward()
    for parameter in model.parameters():
        assert float(parameter.grad.abs().max()) < 1e-9
    each = 0.5 * np.log(values[:2] / (beta * v))
    assert float(code.rate.mean()) == pytest.approx(each.sum())


def test_the_importance_nll_of_two_levels_is_that_of_the_marginal_gaussian() -> None:
    torch.manual_seed(0)
    model = linear_hvae((5,), latent=3, upper=2, variance=0.8).double()
    with torch.no_grad():
        model.encoder.map.weight.zero_()  # a posterior near the prior, from which any x can be explained
        model.encoder.map.bias.zero_()
        model.bottleneck.first.log_variance.fill_(0.4)
        model.decoder.layers[-1].weight.mul_(0.4)
        u1, u2 = model.decoder.layers[-1].weight, model.bottleneck.down.weight
        covariance = u1 @ (u2 @ u2.T + torch.eye(3).double()) @ u1.T + 0.8 * torch.eye(5).double()
        exact = MultivariateNormal(model.decoder.layers[-1].bias, covariance)
        x = torch.randn(3, 5, dtype=torch.float64)
        estimate = importance_nll(model, Batch(x), 100_000, chunk=20_000)
        torch.testing.assert_close(estimate, -exact.log_prob(x), atol=0.05, rtol=0)


def test_what_is_given_is_read_by_the_decoder_at_no_cost() -> None:
    model = linear_cvae(Spec((6,), target=(4,)), latent=3).double().eval()
    x = torch.randn(5, 6, dtype=torch.float64)
    code = model.encode(Batch(x, x[:, 2:]))
    torch.testing.assert_close(code.z[:, 3:], x[:, :2])
    mean = torch.cat([code.z[:, :3]])
    q = MultivariateNormal(mean, torch.diag(model.bottleneck.variance()).detach())
    p = MultivariateNormal(torch.zeros(3).double(), torch.eye(3).double())
    torch.testing.assert_close(code.rate, kl_divergence(q, p))
    assert model.encode(Batch(x, x[:, 2:]), (7,)).z.shape == (7, 5, 5)


def test_other_data_are_refused() -> None:
    with pytest.raises(RequestError, match="real"):
        linear_cvae(Spec((6,), "binary"))
    with pytest.raises(RequestError, match="vectors"):
        linear_hvae((1, 6, 6))
    with pytest.raises(RequestError, match="target"):
        linear_cvae(Spec((6,), target=(6,)))
    with pytest.raises(RequestError, match="linear-cvae"):
        linear_hvae(Spec((6,), target=(3,)))
    with pytest.raises(RequestError, match="variance"):
        linear_cvae((6,), encoder_variance=-1.0)
    assert math.isfinite(float(linear_cvae((6,), encoder_variance=0.5).loss(Batch(torch.zeros(2, 6))).total))
