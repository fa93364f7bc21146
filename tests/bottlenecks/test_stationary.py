"""The AR(1) prior against the Gaussian with its covariance matrix."""

import pytest
import torch
from torch.distributions import MultivariateNormal, kl_divergence

from narrows.bottlenecks.gaussian.diagonal import Gaussian, normal
from narrows.bottlenecks.priors.stationary import Stationary, StationaryPrior, correlation, least_rate
from narrows.core.check import RequestError


def known(a: torch.Tensor, positions: int) -> MultivariateNormal:
    """The process as one Gaussian: the covariance of positions t and s of a channel is a^|t - s|."""
    size = positions * len(a)
    covariance = torch.zeros(size, size, dtype=torch.float64)
    for t in range(positions):
        for s in range(positions):
            for c in range(len(a)):
                covariance[t * len(a) + c, s * len(a) + c] = float(a[c]) ** abs(t - s)
    return MultivariateNormal(torch.zeros(size).double(), covariance)


@pytest.mark.parametrize("positions", [2, 5])
def test_density_and_divergence_are_those_of_the_gaussian(positions: int) -> None:
    torch.manual_seed(0)
    a = torch.tensor([0.9, 0.3], dtype=torch.float64)
    p, exact = Stationary(a, positions), known(a, positions)
    z = torch.randn(3, 4, 2 * positions, dtype=torch.float64)
    torch.testing.assert_close(p.log_prob(z), exact.log_prob(z))
    q = normal(torch.randn(6, 4 * positions, dtype=torch.float64))
    dense = MultivariateNormal(q.mean, torch.diag_embed(q.variance))
    torch.testing.assert_close(kl_divergence(q, p), kl_divergence(dense, exact))


def test_draws_have_the_covariance_of_the_process() -> None:
    torch.manual_seed(0)
    p = Stationary(torch.tensor([0.8, -0.5]), 3)
    torch.testing.assert_close(
        p.sample((60_000,)).T.cov().double(), known(p.a, 3).covariance_matrix, atol=0.03, rtol=0
    )


def test_no_independent_posterior_has_a_smaller_rate() -> None:
    """The least divergence over means and variances, found by descent, is delta for each channel."""
    torch.manual_seed(0)
    bottleneck = Gaussian(12, StationaryPrior(12, positions=6, rate=0.7)).double()
    h = torch.randn(1, 24, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([h], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> float:
        optimizer.zero_grad()
        rate = bottleneck(h).costs["kl"].sum()
        rate.backward()
        return float(rate)

    optimizer.step(closure)
    assert float(bottleneck(h).costs["kl"]) == pytest.approx(2 * 0.7, abs=1e-6)


def test_the_correlation_has_the_rate() -> None:
    for rate in (0.01, 1.0, 12.0):
        assert least_rate(correlation(rate, 5), 5) == pytest.approx(rate)


@pytest.mark.parametrize(("positions", "rate"), [(1, 0.5), (5, 0.5), (4, 0.0), (4, -1.0), (4, 20.0)])
def test_bad_arguments_are_refused(positions: int, rate: float) -> None:
    with pytest.raises(RequestError):
        StationaryPrior(12, positions, rate)
