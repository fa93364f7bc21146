"""The critic of permuted codes, against closed forms and loops."""

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from narrows.core import Autoencoder, Batch, Code, Pass
from narrows.methods.variational.factor_vae import factor_vae
from narrows.objectives.permuted import PermutedAdversary, permuted


def test_each_latent_is_permuted_on_its_own():
    torch.manual_seed(0)
    z = torch.randn(500, 3)
    z[:, 1] = z[:, 0]
    mixed = permuted(z)
    assert torch.equal(mixed.sort(0).values, z.sort(0).values)
    assert torch.corrcoef(mixed.T)[0, 1].abs() < 0.15


def test_the_loss_is_the_equation_at_the_drawn_codes():
    torch.manual_seed(0)
    x = torch.randn(6, 5, dtype=torch.float64)
    model = factor_vae((5,), latent=2, gamma=7.0).double().train()
    torch.manual_seed(3)
    loss = model.loss(Batch(x))
    torch.manual_seed(3)
    mean, log_variance = model.encoder(x).chunk(2, -1)
    q = Normal(mean, (0.5 * log_variance).exp())
    z = q.rsample()
    total = 0.0
    for i in range(6):
        rate = kl_divergence(q, Normal(0.0, 1.0))[i].sum()
        d = torch.sigmoid(model.objective.critic(z[i : i + 1])).squeeze()
        total += model.likelihood.nll(model.decode(z[i : i + 1]), x[i : i + 1])[0] + rate
        total += 7.0 * ((1 - d) / d).log()
    torch.testing.assert_close(loss.total, total / 6)


@pytest.mark.parametrize("n", [1, 7, 8])
def test_the_critic_compares_one_half_with_the_other_permuted(n, monkeypatch):
    model = factor_vae((5,), latent=2).double().train()
    batch = Batch(torch.randn(n, 5, dtype=torch.float64))
    passed = model(batch)
    monkeypatch.setattr("narrows.objectives.permuted.permuted", lambda z: z.flip(0))
    z, half = passed.code.z, (n + 1) // 2
    product = torch.sigmoid(model.objective.critic(z[n - half :].flip(0)))
    joint = torch.sigmoid(model.objective.critic(z[:half]))
    expected = -product.log().mean() - (1 - joint).log().mean()
    loss = model.players()[1].loss(batch, 0, passed)
    torch.testing.assert_close(loss.total, expected)
    slopes = torch.autograd.grad(loss.total, list(model.encoder.parameters()), allow_unused=True)
    assert slopes == (None,) * len(slopes)


def test_a_trained_critic_finds_the_total_correlation_of_a_gaussian():
    """Of two latents with correlation r it is -log(1 - r^2) / 2."""
    torch.manual_seed(0)
    adversary = PermutedAdversary(2)
    correlation = 0.8
    model: Autoencoder = factor_vae((5,), latent=2)

    def passed(n: int) -> Pass:
        e = torch.randn(n, 2)
        z = torch.stack([e[:, 0], correlation * e[:, 0] + math.sqrt(1 - correlation**2) * e[:, 1]], 1)
        return Pass(Batch(z), Code(z))

    optimizer = torch.optim.Adam(adversary.critic.parameters(), lr=3e-3)
    for _ in range(300):
        optimizer.zero_grad()
        adversary.judge(model, passed(512)).total.backward()
        optimizer.step()
    with torch.no_grad():
        found = float(adversary.extra(model, passed(20_000))["tc"].mean())
    assert found == pytest.approx(-0.5 * math.log(1 - correlation**2), rel=0.1)


def test_in_eval_the_term_is_at_draws_of_the_posterior():
    torch.manual_seed(0)
    model = factor_vae((5,), latent=2).eval()
    passed = model(Batch(torch.randn(4, 5)))
    torch.manual_seed(1)
    found = model.objective.extra(model, passed)["tc"]
    torch.manual_seed(1)
    z = passed.code.q.rsample()
    torch.testing.assert_close(found, -model.objective.critic(z).squeeze(-1))
    assert not torch.allclose(z, passed.code.z)
