"""Codes on the simplex, against Beta integrals and Gamma variables."""

import numpy as np
import pytest
import torch
from scipy.stats import beta
from torch.distributions import Beta, Gamma, kl_divergence

from narrows.audit.evidence.likelihood import importance_nll
from narrows.bottlenecks.manifold.simplex import Shares, Simplex
from narrows.core import Batch
from narrows.core.check import RequestError
from narrows.methods.variational.dirichlet_vae import dirichlet_vae

DOUBLE = torch.float64


def test_the_divergence_is_that_of_gamma_variables_less_that_of_their_sum():
    """Shares and sum of independent Gamma variables are independent, so that divergences add."""
    torch.manual_seed(0)
    alpha, prior = torch.rand(6, 4, dtype=DOUBLE) * 5 + 0.1, torch.full((4,), 0.75, dtype=DOUBLE)
    one = torch.ones((), dtype=DOUBLE)
    apart = kl_divergence(Gamma(alpha, one), Gamma(prior, one)).sum(1)
    whole = kl_divergence(Gamma(alpha.sum(1), one), Gamma(prior.sum(), one))
    bottleneck = Simplex(4).double()
    torch.testing.assert_close(bottleneck(alpha.log()).costs["kl"], apart - whole)
    torch.testing.assert_close(bottleneck.alpha, prior)


def test_the_cost_of_samples_has_the_divergence_as_its_mean():
    bottleneck = Simplex(3, concentration=0.5).double()
    h = torch.tensor([[0.0, 1.0, -1.0], [2.0, 2.0, 0.5]], dtype=DOUBLE)
    torch.manual_seed(0)
    ratios = bottleneck(h, samples=(40_000,)).costs["kl"]
    exact = bottleneck(h).costs["kl"]
    assert ((ratios.mean(0) - exact).abs() < 4 * ratios.std(0) / 200).all()


def test_gradients_of_draws_are_those_of_the_mean():
    alpha = torch.tensor([[0.4, 1.5, 6.0]], dtype=DOUBLE).repeat(40_000, 1).requires_grad_()
    torch.manual_seed(0)
    z = Shares(alpha).rsample()
    (slope,) = torch.autograd.grad(z[:, 0].sum(), alpha)
    a, total = alpha[0].detach(), alpha[0].detach().sum()
    exact = torch.stack([(total - a[0]) / total**2, -a[0] / total**2, -a[0] / total**2])
    assert ((slope.mean(0) - exact).abs() < 4 * slope.std(0) / 200 + 1e-4).all()


def test_small_concentrations_give_points_of_the_simplex():
    bottleneck = Simplex(2)
    code = bottleneck(torch.full((4, 2), -50.0), samples=(5000,))
    torch.testing.assert_close(code.q.concentration, torch.full((4, 2), 0.05))
    assert (code.z > 0).all()
    torch.testing.assert_close(code.z.sum(-1), torch.ones(5000, 4))
    assert code.costs["kl"].isfinite().all()
    middle = (code.z[..., 0] > 0.1) & (code.z[..., 0] < 0.9)
    wanted = np.diff(beta.cdf([0.1, 0.9], 0.05, 0.05))
    assert float(middle.double().mean()) == pytest.approx(float(wanted[0]), abs=0.01)


def test_single_precision_is_enough_for_large_concentrations():
    h = torch.full((1, 8), 9.0)
    single, wide = Simplex(8)(h).costs["kl"], Simplex(8).double()(h.double()).costs["kl"]
    torch.testing.assert_close(single, wide.float(), rtol=1e-4, atol=1e-4)


def test_the_likelihood_is_the_integral_over_shares():
    torch.manual_seed(0)
    model = dirichlet_vae((3,), latent=2, concentration=2.0, net="mlp:8").double().eval()
    x = torch.randn(4, 3, dtype=DOUBLE)
    share = (torch.arange(4000, dtype=DOUBLE) + 0.5) / 4000
    with torch.no_grad():
        output = model.decode(torch.stack([share, 1 - share], 1))
        nll = torch.stack([model.likelihood.nll(output, one.expand(4000, 3)) for one in x], 1)
        found = importance_nll(model, Batch(x), 40_000, chunk=10_000)
    exact = -torch.logsumexp(Beta(2.0, 2.0).log_prob(share)[:, None] - nll, 0) + torch.tensor(4000.0).log()
    torch.testing.assert_close(found, exact, atol=0.05, rtol=0)


def test_codes_are_returned_to_the_simplex():
    code = Simplex(3).from_symbols(torch.tensor([[1.0, -2.0, 3.0], [-1.0, -1.0, -1.0]]))
    torch.testing.assert_close(code.z, torch.tensor([[0.25, 0.0, 0.75], [1 / 3, 1 / 3, 1 / 3]]))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"latent": 1}, "`latent` must be a whole number of at least 2, but got 1. Shares that sum"),
        ({"concentration": 0.001}, "`concentration` must be from 0.05 to 10000, or 0, but got 0.001"),
        ({"concentration": -1.0}, "`concentration` must be from 0.05"),
    ],
)
def test_bad_arguments_are_refused(options, says):
    with pytest.raises(RequestError, match=says):
        dirichlet_vae((5,), **options)
