"""The adversarial autoencoder: its priors, and its losses by hand."""

import math

import pytest
import torch

from narrows.bottlenecks.deterministic.shaped import Shaped
from narrows.core import Batch
from narrows.core.check import RequestError
from narrows.methods.regularised.aae import aae
from narrows.methods.regularised.wae import wae


def test_the_moments_of_the_gaussians_on_a_circle():
    """The angle is uniform, and the squared norm is 1.4^2 + 0.5^2 + 0.1^2 on average."""
    torch.manual_seed(0)
    z = Shaped(4, "gaussians").sample(40_000).z
    assert z.shape == (40_000, 4)
    assert z.mean(0).abs().max() < 0.02
    expected = (1.4**2 + 0.5**2 + 0.1**2) / 2 * torch.eye(4)
    assert torch.allclose(z.T @ z / len(z), expected, atol=0.02)
    angle = torch.atan2(z[:, 1], z[:, 0])
    assert torch.cos(10 * angle).mean() > 0.5  # ten centres, one of them at angle 0


def test_the_swiss_roll_is_a_spiral_with_a_uniform_squared_radius():
    torch.manual_seed(0)
    z = Shaped(2, "swiss-roll").sample(20_000).z
    radius = z.norm(dim=1)
    turned = torch.stack([(math.pi * radius).cos(), (math.pi * radius).sin()], 1) * radius[:, None]
    assert torch.allclose(z, turned, atol=1e-4)  # 1.5 turns over a radius of 3
    shares = torch.linspace(0.1, 0.9, 9)
    assert torch.allclose(radius.square().quantile(shares), 9 * shares, atol=0.15)


def test_a_prior_of_pairs_needs_an_even_width():
    with pytest.raises(RequestError, match="even"):
        aae((8,), latent=3, shape="gaussians")


def test_the_losses_of_both_players_are_the_equations():
    torch.manual_seed(0)
    x = torch.randn(6, 5, dtype=torch.float64)
    model = aae((5,), latent=2, shape="swiss-roll", weight=3.0, gradient_penalty=0).double()
    first, second = model.players()
    z = model.encoder(x)
    d = torch.sigmoid(model.objective.critic(z))
    expected = (model.decoder(z) - x).square().sum(1).mean() - 3 * d.log().mean()
    torch.testing.assert_close(first.loss(Batch(x), 0).total, expected)
    torch.manual_seed(1)
    found = second.loss(Batch(x), 0).total
    torch.manual_seed(1)
    real = torch.sigmoid(model.objective.critic(model.bottleneck.sample(6).z))
    torch.testing.assert_close(found, -real.log().mean() - (1 - d).log().mean())


def test_with_a_normal_prior_it_is_the_adversarial_wae():
    x = torch.randn(6, 5)
    losses = []
    for build in (aae, lambda spec, **options: wae(spec, penalty="gan", **options)):
        torch.manual_seed(0)
        model = build((5,), latent=2)
        found = []
        for player in model.players():
            torch.manual_seed(1)
            found.append(player.loss(Batch(x), 0).total)
        losses.append(torch.stack(found))
    torch.testing.assert_close(*losses)
