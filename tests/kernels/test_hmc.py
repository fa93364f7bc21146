"""Hamiltonian Monte Carlo on Gaussians in closed form and on a density without mass in between."""

import pytest
import torch

from narrows.core import seeded
from narrows.kernels.hmc import hmc


def test_the_variance_on_a_standard_normal_is_one():
    """Momenta of half the variance, under the energy of a unit mass, would give a quarter."""
    with seeded(0):
        chains = hmc(
            lambda z: -0.5 * z.square().sum(1), 3 + torch.zeros(20_000, 2, dtype=torch.float64), steps=60
        )
    assert torch.allclose(chains.states.mean(0), torch.zeros(2, dtype=torch.float64), atol=0.03)
    assert torch.allclose(torch.cov(chains.states.T), torch.eye(2, dtype=torch.float64), atol=0.04)
    assert chains.accepted == pytest.approx(0.65, abs=0.15)


def test_correlated_gaussian_and_a_fixed_step():
    root = torch.tensor([[1.0, 0.0], [1.5, 0.5]], dtype=torch.float64)
    precision = torch.linalg.inv(root @ root.T)
    with seeded(0):
        found = hmc(
            lambda z: -0.5 * ((z @ precision) * z).sum(1),
            torch.zeros(20_000, 2, dtype=torch.float64),
            steps=60,
            step_size=0.3,
            target=None,
        )
    assert found.step_size == 0.3
    assert torch.allclose(torch.cov(found.states.T), root @ root.T, atol=0.1)


def test_without_the_test_of_metropolis_a_coarse_step_would_be_biased():
    """A leapfrog step of 1.5 on N(0, 1) is far from exact; draws are, all the same."""
    with seeded(0):
        found = hmc(
            lambda z: -0.5 * z.square().sum(1),
            torch.randn(40_000, 1, dtype=torch.float64),
            steps=20,
            step_size=1.5,
            leapfrog=3,
            target=None,
        )
    assert float(found.states.var()) == pytest.approx(1, abs=0.03)
    assert found.accepted < 0.9


def test_what_is_not_finite_is_rejected():
    def half_line(z):
        return torch.where(z > 0, -z, torch.full_like(z, -torch.inf)).sum(1)

    with seeded(0):
        found = hmc(half_line, torch.ones(20_000, 1, dtype=torch.float64), steps=100)
    assert float(found.states.min()) > 0
    assert float(found.states.mean()) == pytest.approx(1, abs=0.05)  # an exponential
