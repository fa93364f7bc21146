"""The mixture against scikit-learn's, a grid, closed forms, and the codes that it is fitted to."""

import numpy as np
import pytest
import torch
from sklearn.mixture import BayesianGaussianMixture
from sklearn.mixture import GaussianMixture as Sklearn
from torch.distributions import Independent, MultivariateNormal, Normal

from narrows.core import Batch, Code, Symbols, seeded
from narrows.core.check import RequestError
from narrows.kernels.mixture import fit_mixture
from narrows.priors.mixture import GaussianMixture


def clouds(n=600):
    torch.manual_seed(0)
    centres = torch.tensor([[-4.0, 0.0], [4.0, 1.0], [0.0, 6.0]])
    shear = torch.tensor([[1.0, 0.8], [0.0, 0.6]])
    return centres[torch.arange(n) % 3] + torch.randn(n, 2) @ shear


def fitted(rows, **options):
    prior = GaussianMixture(Symbols(tuple(rows.shape[1:])), **options)
    with seeded(0):
        prior.prepare(None, Batch(rows))
    return prior


@pytest.mark.parametrize(("diagonal", "kind"), [(False, "full"), (True, "diag")])
def test_it_is_the_maximum_that_scikit_learn_finds_from_the_same_start(diagonal, kind):
    rows = clouds()
    start = torch.nn.functional.one_hot((rows[:, 0] > 1).long() + (rows[:, 1] > 3).long(), 3)
    found = fit_mixture(rows, start, diagonal=diagonal, tolerance=0, iterations=60)
    first = fit_mixture(rows, start, diagonal=diagonal, iterations=0)
    covariances = first.factors @ first.factors.transpose(1, 2)
    precisions = torch.linalg.inv(covariances)
    peer = Sklearn(
        3,
        covariance_type=kind,
        weights_init=first.weights.numpy(),
        means_init=first.means.numpy(),
        precisions_init=(precisions.diagonal(dim1=1, dim2=2) if diagonal else precisions).numpy(),
        tol=1e-12,
        max_iter=200,
    ).fit(rows.double().numpy())
    np.testing.assert_allclose(found.weights, peer.weights_, atol=1e-4)
    np.testing.assert_allclose(found.means, peer.means_, atol=1e-3)
    covariances = found.factors @ found.factors.transpose(1, 2)
    np.testing.assert_allclose(
        covariances.diagonal(dim1=1, dim2=2) if diagonal else covariances, peer.covariances_, atol=1e-3
    )
    np.testing.assert_allclose(found.log_prob(rows.double()), peer.score_samples(rows.double()), atol=1e-3)


def test_one_component_is_the_gaussian_with_mean_and_covariance_of_the_codes():
    rows = clouds()
    prior = fitted(rows, components=1)
    expected = MultivariateNormal(rows.mean(0), torch.cov(rows.T, correction=0))
    assert torch.allclose(prior.nll(rows[:9]), -expected.log_prob(rows[:9]), atol=1e-4)


@pytest.mark.parametrize("covariance", ["full", "diagonal"])
def test_the_density_integrates_to_one_and_samples_follow_it(covariance):
    prior = fitted(clouds(), components=3, covariance=covariance)
    side = torch.linspace(-12, 12, 241)
    grid = torch.cartesian_prod(side, side)
    density = (-prior.nll(grid)).exp() * 0.1**2
    assert float(density.sum()) == pytest.approx(1, abs=1e-3)
    with seeded(1):
        drawn = prior.sample(20_000)
    for power in (1, 2):
        assert torch.allclose((drawn**power).mean(0), (density[:, None] * grid**power).sum(0), atol=0.2)
    near = (drawn[:, None] - torch.tensor([[-4.0, 0.0], [4.0, 1.0], [0.0, 6.0]])).norm(dim=-1).min(1).values
    assert float(near.median()) < 1.5  # a single Gaussian has 3


def test_of_a_posterior_it_learns_draws_unless_told_otherwise():
    mean = torch.zeros(5000, 2)
    batch = Batch(mean, condition={"deviation": torch.tensor([0.5, 2.0]).expand(5000, 2)})
    prior = GaussianMixture(Symbols((2,)), components=1)
    with seeded(0):
        prior.prepare(None, batch)
    assert torch.allclose(prior.factors[0].diagonal(), torch.tensor([0.5, 2.0]), rtol=0.05)
    q = Independent(Normal(mean, torch.ones(2)), 1)

    class Model:
        class bottleneck:
            to_symbols = staticmethod(lambda code: code.z)

        encode_fixed = staticmethod(lambda batch: Code(mean, q=q))

    assert "deviation" in prior.view(Model, Batch(mean)).condition
    assert "deviation" not in GaussianMixture(Symbols((2,)), draws=False).view(Model, Batch(mean)).condition


def test_codes_without_variance_and_codes_of_several_axes():
    rows = torch.zeros(30, 2, 3)
    rows[:15, 0, 0] = 1e4
    prior = fitted(rows, components=2)
    assert prior.sample(7).shape == (7, 2, 3)
    assert torch.isfinite(prior.nll(rows)).all()
    assert sorted(prior.means[:, 0].tolist()) == pytest.approx([0.0, 1e4])


def test_what_cannot_be_is_said_in_a_sentence():
    with pytest.raises(RequestError, match="at most the number of codes, 5, but got 8"):
        fitted(torch.randn(5, 2), components=8)
    with pytest.raises(RequestError, match="These do: autoregressive"):
        GaussianMixture(Symbols((4,), codes=8))
    with pytest.raises(RequestError, match="covariance=diagonal"):
        GaussianMixture(Symbols((3000,)))
    GaussianMixture(Symbols((3000,)), covariance="diagonal")
    with pytest.raises(RequestError, match="covariance"):
        GaussianMixture(Symbols((3,)), covariance="spherical")


@pytest.mark.parametrize(("covariance", "kind"), [("full", "full"), ("diagonal", "diag")])
def test_a_dirichlet_process_is_that_of_scikit_learn(covariance, kind):
    rows = clouds()
    prior = fitted(rows, components=8, concentration=0.01, covariance=covariance)
    with seeded(0):
        state = int(torch.randint(1 << 31, ()))
    peer = BayesianGaussianMixture(
        n_components=8,
        covariance_type=kind,
        weight_concentration_prior=0.01,
        reg_covar=1e-6 * float(rows.var(0, correction=0).mean()),
        max_iter=200,
        random_state=state,
    ).fit(rows.double().numpy())
    np.testing.assert_allclose(prior.weights, peer.weights_, atol=1e-5)
    np.testing.assert_allclose(prior.means, peer.means_, atol=1e-4)
    parts = [
        MultivariateNormal(m, torch.diag(c) if kind == "diag" else c)
        for m, c in zip(torch.tensor(peer.means_), torch.tensor(peer.covariances_), strict=True)
    ]
    joint = (
        torch.stack([part.log_prob(rows.double()) for part in parts], 1) + torch.tensor(peer.weights_).log()
    )
    torch.testing.assert_close(prior.nll(rows).double(), -joint.logsumexp(1), atol=1e-3, rtol=1e-3)


def test_a_dirichlet_process_leaves_the_components_that_the_data_need():
    """Three clouds: of eight components three keep weight, where the maximum of the likelihood uses all."""
    process = fitted(clouds(), components=8, concentration=0.01)
    likeliest = fitted(clouds(), components=8)
    assert int((process.weights > 0.02).sum()) == 3
    assert int((likeliest.weights > 0.02).sum()) > 5
    with pytest.raises(RequestError, match="concentration"):
        GaussianMixture(Symbols((2,)), concentration=-1.0)


def test_a_dirichlet_process_has_no_more_components_than_codes():
    rows = clouds(6)
    prior = fitted(rows, components=20, concentration=0.05)
    same = fitted(rows, components=6, concentration=0.05)
    assert torch.equal(prior.weights[:6], same.weights)
    assert not prior.weights[6:].any()
    torch.testing.assert_close(prior.nll(rows), same.nll(rows))
    assert prior.sample(5).isfinite().all()
    with pytest.raises(RequestError, match="single code"):
        prior.check(None, Code(rows), 1)
