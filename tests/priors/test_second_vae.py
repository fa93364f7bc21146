"""A second VAE whose posterior is exact, against a Gaussian in closed form; what it learns of two clouds."""

import math

import pytest
import torch
from torch.distributions import MultivariateNormal

from narrows.core import Batch, Symbols, seeded
from narrows.core.check import RequestError
from narrows.priors.second_vae import SecondVAE


def linear():
    """z = W u + gamma e in standardised codes, W'W diagonal, and the exact posterior."""
    prior = SecondVAE(Symbols((3,)), latent=2, width=4).double().eval()
    w, gamma = torch.tensor([[2.0, 0.0], [0.0, 0.5], [0.0, 0.0]]).double(), 0.7
    precision = 1 + w.square().sum(0) / gamma**2

    def encode(z):
        return torch.cat([z @ w / gamma**2 / precision, (-precision.log()).expand(*z.shape[:-1], 2)], -1)

    prior.encode.forward, prior.decode.forward = encode, lambda u: u @ w.T
    prior.log_scale.data.fill_(math.log(gamma))
    prior.shift.copy_(torch.tensor([1.0, -2.0, 0.5]))
    prior.scale.copy_(torch.tensor([3.0, 1.0, 0.2]))
    covariance = prior.scale.diag() @ (w @ w.T + gamma**2 * torch.eye(3)) @ prior.scale.diag()
    return prior, MultivariateNormal(prior.shift, covariance)


def test_with_the_exact_posterior_the_bound_is_the_gaussian_density():
    prior, exact = linear()
    z = 3 * torch.randn(6, 3).double()
    assert torch.allclose(prior.nll(z), -exact.log_prob(z))
    with seeded(0):
        losses = torch.stack([prior.loss(Batch(z)).total for _ in range(4000)])
    assert float(losses.mean()) == pytest.approx(float(-exact.log_prob(z).mean()), abs=0.1)


def test_samples_have_the_noise_of_the_decoder():
    prior, exact = linear()
    with seeded(0):
        drawn = prior.sample(40_000)
    assert torch.allclose(drawn.mean(0), exact.mean, atol=0.1)
    assert torch.allclose(torch.cov(drawn.T), exact.covariance_matrix, atol=0.7, rtol=0.05)


def test_it_learns_two_clouds_that_one_gaussian_does_not():
    def clouds(n):
        return torch.cat([torch.randint(2, (n, 1)) * 6.0 - 3 + 0.3 * torch.randn(n, 1), torch.randn(n, 1)], 1)

    torch.manual_seed(0)
    prior = SecondVAE(Symbols((2,)), width=32)
    prior.prepare(None, Batch(clouds(4096)))
    (player,) = prior.players()
    optimizer = torch.optim.Adam(player.parameters, lr=4e-3)
    for step in range(700):
        loss = player.loss(Batch(clouds(256)), step).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    normal = 0.5 * math.log(2 * math.pi * math.e)
    entropy, gaussian = math.log(2) + 2 * normal + math.log(0.3), 2 * normal + math.log(math.sqrt(9.09))
    nll = float(prior.eval().nll(clouds(500)).mean())
    assert entropy - 0.1 < nll < gaussian - 0.5
    assert float((prior.sample(1000)[:, 0].abs() - 3).abs().mean()) < 1.2  # of one Gaussian 1.6


def test_what_cannot_be_is_refused():
    with pytest.raises(RequestError, match="width"):
        SecondVAE(Symbols((2,)), width=0)
    with pytest.raises(RequestError, match="These do: autoregressive"):
        SecondVAE(Symbols((4,), codes=8))
