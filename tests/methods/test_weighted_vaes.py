"""Objectives with weights on the rate, against their equations by torch's own divergences."""

import pytest
import torch
from torch.distributions import Independent, Normal, kl_divergence

from narrows.core import Batch
from narrows.methods.variational.annealed_vae import annealed_vae
from narrows.methods.variational.beta_vae import beta_vae


def parts(model, x):
    """Distortion and rate of each example at the drawn codes, by torch's distributions."""
    torch.manual_seed(3)
    mean, log_variance = model.encoder(x).chunk(2, -1)
    q = Independent(Normal(mean, (0.5 * log_variance).exp()), 1)
    z = q.rsample()
    rate = kl_divergence(q, Independent(Normal(torch.zeros_like(mean), torch.ones_like(mean)), 1))
    return model.likelihood.nll(model.decode(z), x), rate


def test_beta_weighs_the_divergence():
    torch.manual_seed(0)
    x = torch.randn(6, 5, dtype=torch.float64)
    model = beta_vae((5,), latent=2, beta="linear:0:3:10").double().train()
    distortion, rate = parts(model, x)
    for step, beta in ((0, 0.0), (5, 1.5), (50, 3.0)):
        torch.manual_seed(3)
        loss = model.loss(Batch(x), step)
        torch.testing.assert_close(loss.total, (distortion + beta * rate).mean())
    assert beta_vae((5,)).objective.weight("kl", 0) == 4.0


def test_the_rate_is_held_at_the_capacity_of_the_step():
    torch.manual_seed(0)
    x = torch.randn(6, 5, dtype=torch.float64)
    for per in ("batch", "example"):
        model = annealed_vae((5,), latent=2, capacity="linear:0:3:10", gamma=7, per=per).double().train()
        distortion, rate = parts(model, x)
        for step, capacity in ((0, 0.0), (5, 1.5), (50, 3.0)):
            expected = 0.0
            if per == "batch":
                expected = 7 * abs(float(rate.mean()) - capacity)
            else:
                for one in rate.tolist():
                    expected += 7 * abs(one - capacity) / 6
            torch.manual_seed(3)
            total = float(model.loss(Batch(x), step).total)
            assert total == pytest.approx(float(distortion.mean()) + expected)
