"""The decomposition against loops, all batches counted, and the analytic total correlation of a Gaussian."""

import itertools
import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Independent, Normal

from narrows.bottlenecks.gaussian.diagonal import Gaussian, normal
from narrows.core import Batch
from narrows.core.check import RequestError
from narrows.methods.variational.beta_tcvae import beta_tcvae
from narrows.objectives import total_correlation
from narrows.objectives.total_correlation import decompose, log_weights

PRIOR = Gaussian(3).double().prior()


def posteriors(n: int, latent: int = 3) -> Independent:
    torch.manual_seed(0)
    return Independent(Normal(torch.randn(n, latent).double(), torch.rand(n, latent).double() + 0.3), 1)


def density(z: Tensor, mean: Tensor, scale: Tensor) -> float:
    return float((-0.5 * ((z - mean) / scale) ** 2 - scale.log() - 0.5 * math.log(2 * math.pi)).exp())


@pytest.mark.parametrize("sampling", ["stratified", "weighted"])
def test_terms_equal_a_loop_over_pairs_and_latents(sampling: str) -> None:
    n, size, q = 5, 40, posteriors(5)
    z = q.sample((2,))
    found = decompose(z, q, PRIOR, size, sampling)
    mean, scale = q.base_dist.loc, q.base_dist.scale
    for s, i in itertools.product(range(2), range(n)):
        joint, marginals = 0.0, [0.0] * 3
        for j in range(n):
            other = 1 / (size * n) if sampling == "weighted" else (size - 1) / (size * (n - 1))
            weight = other if i != j or sampling == "weighted" else 1 / size
            by_latent = [density(z[s, i, d], mean[j, d], scale[j, d]) for d in range(3)]
            joint += weight * math.prod(by_latent)
            marginals = [m + weight * b for m, b in zip(marginals, by_latent, strict=True)]
        own = math.prod(density(z[s, i, d], mean[i, d], scale[i, d]) for d in range(3))
        prior = math.prod(density(z[s, i, d], torch.zeros(()), torch.ones(())) for d in range(3))
        assert math.isclose(found["mi"][s, i], math.log(own / joint), abs_tol=1e-6)
        assert math.isclose(found["tc"][s, i], math.log(joint / math.prod(marginals)), abs_tol=1e-6)
        assert math.isclose(found["dimwise"][s, i], math.log(math.prod(marginals) / prior), abs_tol=1e-6)


@pytest.mark.parametrize("sampling", ["stratified", "weighted"])
def test_terms_add_up_to_the_sampled_divergence(sampling: str) -> None:
    q = posteriors(64)
    z = q.sample((3,))
    terms = decompose(z, q, PRIOR, 1000, sampling)
    torch.testing.assert_close(sum(terms.values()), q.log_prob(z) - PRIOR.log_prob(z))


def test_stratified_estimate_is_unbiased_over_all_batches() -> None:
    """For z drawn from example 0, the mean over all batches that hold example 0 is the aggregate posterior."""
    n, batch, q = 7, 4, posteriors(7)
    z = q.sample()[0]
    density_of = q.log_prob(z).exp()
    weights = log_weights(batch, n).exp().double()[0]
    batches = [torch.tensor([0, *rest]) for rest in itertools.combinations(range(1, n), batch - 1)]
    estimates = torch.stack([(weights * density_of[rows]).sum() for rows in batches])
    assert estimates.std() > 1e-4
    torch.testing.assert_close(estimates.mean(), density_of.mean(), atol=1e-8, rtol=1e-6)


def test_stratified_is_the_paper_s_estimator_averaged_over_orders() -> None:
    n, batch = 11, 4
    others = batch - 1
    orders = []
    for last in range(1, batch):
        weights = torch.full((batch,), 1 / others)
        weights[0], weights[last] = 1 / n, (n - others) / (n * others)
        orders.append(weights)
    torch.testing.assert_close(log_weights(batch, n).exp()[0], torch.stack(orders).mean(0))


def test_the_whole_data_in_one_batch_counts_evenly() -> None:
    torch.testing.assert_close(log_weights(6, 6).exp(), torch.full((6, 6), 1 / 6))
    assert log_weights(1, 1000).exp() == 1


def test_matches_the_analytic_total_correlation_of_a_gaussian() -> None:
    """Means N(0, S0) and posterior variance v make q(z) = N(0, S0 + v I): TC = -1/2 log(1 - rho^2)."""
    torch.manual_seed(0)
    n, variance = 1600, 0.25
    covariance = torch.tensor([[1.0, 0.7], [0.7, 0.8]], dtype=torch.float64)
    means = torch.randn(n, 2).double() @ torch.linalg.cholesky(covariance).T
    q = Independent(Normal(means, torch.full_like(means, variance**0.5)), 1)
    terms = decompose(q.sample(), q, Gaussian(2).double().prior(), n)
    total = covariance + variance * torch.eye(2)
    correlation = total[0, 1] ** 2 / (total[0, 0] * total[1, 1])
    information = 0.5 * (total.logdet() - 2 * math.log(variance))
    dimwise = 0.5 * sum(total[d, d] - 1 - total[d, d].log() for d in range(2))
    assert abs(terms["tc"].mean() - -0.5 * math.log(1 - correlation)) < 0.03
    assert abs(terms["mi"].mean() - information) < 0.06
    assert abs(terms["dimwise"].mean() - dimwise) < 0.05


def test_loss_weighs_the_three_terms_and_not_the_divergence() -> None:
    torch.manual_seed(0)
    model, x = beta_tcvae((6,), latent=3, alpha=0.5, beta=4.0, gamma=2.0, dataset_size=100), torch.rand(8, 6)
    terms = model.loss(Batch(x)).terms
    torch.manual_seed(1)
    loss = model.loss(Batch(x))
    terms = loss.terms
    expected = terms["distortion"] + 0.5 * terms["mi"] + 4 * terms["tc"] + 2 * terms["dimwise"]
    torch.testing.assert_close(loss.total.detach(), expected)
    torch.testing.assert_close(terms["mi"] + terms["tc"] + terms["dimwise"], terms["kl"])


def test_size_of_the_data_changes_values_of_weighted_sampling_by_a_constant_only() -> None:
    q = posteriors(6)
    z = q.sample()
    small, large = (decompose(z, q, PRIOR, size, "weighted") for size in (10, 1000))
    torch.testing.assert_close(large["mi"] - small["mi"], torch.full((6,), math.log(100)).double())
    torch.testing.assert_close(large["tc"] - small["tc"], torch.full((6,), 2 * math.log(100)).double())


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(RequestError, match="sampling"):
        beta_tcvae((6,), sampling="even")
    with pytest.raises(RequestError, match="dataset_size"):
        beta_tcvae((6,), dataset_size=-1)


def test_size_of_the_data_is_set_once_and_saved() -> None:
    model, other = (beta_tcvae((6,), latent=3) for _ in range(2))
    assert int(model.objective.size) == 0
    model.objective.set_rows(500)
    model.objective.set_rows(600)  # it is known
    other.load_state_dict(model.state_dict())
    assert int(other.objective.size) == 500


def test_a_batch_in_pieces_has_the_same_terms_and_gradients(monkeypatch):
    torch.manual_seed(0)
    found = []
    features, noise = torch.randn(12, 6, dtype=torch.double), torch.randn(2, 12, 3, dtype=torch.double)
    for numbers in (1 << 21, 2 * 12 * 3 * 5):
        monkeypatch.setattr(total_correlation, "_NUMBERS", numbers)
        h = features.clone().requires_grad_()
        q = normal(h)
        z = q.mean + q.stddev * noise
        terms = decompose(z, q, normal(torch.zeros(1, 6, dtype=torch.double)), 100)
        (terms["tc"].sum() + 2 * terms["mi"].sum()).backward()
        found.append((*terms.values(), h.grad))
    for whole, pieces in zip(*found, strict=True):
        assert torch.allclose(whole, pieces, rtol=1e-12)
