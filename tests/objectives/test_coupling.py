"""The dual potential, against Sinkhorn's iterations and the equations."""

import math

import numpy as np
import pytest
import torch
from torch.distributions import Normal, kl_divergence

from narrows.core import Batch
from narrows.core.check import RequestError
from narrows.methods.variational.coupled_vae import coupled_vae
from narrows.objectives.coupling import semi_dual


def primal_by_sinkhorn(costs, epsilon):
    """The least transport cost plus epsilon times the divergence from independence, uniform marginals."""
    rows, columns = costs.shape
    kernel, v = np.exp(-costs / epsilon), np.ones(columns)
    for _ in range(5000):
        u = (1 / rows) / (kernel @ v)
        v = (1 / columns) / (kernel.T @ u)
    plan = u[:, None] * kernel * v
    return (plan * costs).sum() + epsilon * (plan * np.log(plan * rows * columns)).sum()


@pytest.mark.parametrize("epsilon", [0.3, 1.0])
def test_the_maximum_of_the_semi_dual_is_entropic_transport(epsilon):
    costs = torch.rand(6, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    potential = torch.zeros(7, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [potential], max_iter=500, tolerance_grad=1e-12, line_search_fn="strong_wolfe"
    )

    def closure():
        optimizer.zero_grad()
        loss = -semi_dual(potential, costs, epsilon)
        loss.backward()
        return loss

    optimizer.step(closure)
    found = float(semi_dual(potential, costs, epsilon))
    assert found == pytest.approx(primal_by_sinkhorn(costs.numpy(), epsilon), abs=1e-7)


def parts(model, x):
    """Distortion, potential and rate of each example at the draws of seed 3, by torch's distributions."""
    torch.manual_seed(3)
    mean, log_variance = model.encoder(x).chunk(2, -1)
    q = Normal(mean, (0.5 * log_variance).exp())
    z, drawn = q.rsample(), torch.randn(len(x), 2, dtype=torch.float64)
    rate = kl_divergence(q, Normal(0.0, 1.0)).sum(1)
    phi = model.objective.critic
    return model.likelihood.nll(model.decode(z), x), phi(z)[:, 0], phi(drawn)[:, 0], rate


def test_the_losses_of_both_players_are_the_primal_s():
    torch.manual_seed(0)
    x = torch.randn(6, 5, dtype=torch.float64)
    model = coupled_vae((5,), latent=2, epsilon=0.7).double().train()
    distortion, at_codes, at_prior, rate = parts(model, x)
    first, second = model.players()
    torch.manual_seed(3)
    loss = first.loss(Batch(x), 0)
    torch.testing.assert_close(loss.total, (distortion - at_codes + 0.7 * rate).mean() + at_prior.mean())
    torch.manual_seed(3)
    passed = model(Batch(x))
    torch.testing.assert_close(second.loss(Batch(x), 0, passed).total, at_codes.mean() - at_prior.mean())


def test_the_semi_dual_reads_the_costs_of_all_pairs():
    torch.manual_seed(0)
    x = torch.randn(4, 5, dtype=torch.float64)
    model = coupled_vae((5,), latent=2, epsilon=0.7, form="semi-dual", draws=3).double().train()
    passed = model(Batch(x))
    torch.manual_seed(4)
    found = model.players()[1].loss(Batch(x), 0, passed).total
    torch.manual_seed(4)
    drawn, expected = torch.randn(3, 2, dtype=torch.float64), 0.0
    phi = [float(model.objective.critic(z[None])) for z in drawn]
    for row in x:
        costs = [float(model.likelihood.nll(model.decode(z[None]), row[None])) for z in drawn]
        mean = sum(math.exp((p - c) / 0.7) for p, c in zip(phi, costs, strict=True)) / 3
        expected += 0.7 * math.log(mean) / 4
    assert float(found) == pytest.approx(expected - sum(phi) / 3, rel=1e-6)


def test_what_cannot_be_is_refused():
    for options in ({"epsilon": 0.0}, {"form": "dual"}, {"draws": 0}, {"potential_layers": ()}):
        with pytest.raises(RequestError, match=next(iter(options))):
            coupled_vae((5,), latent=2, **options)
