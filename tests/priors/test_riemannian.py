"""The metric against its definition and closed forms, medoids against brute force, draws against the density."""

import itertools
import math

import pytest
import torch

from narrows.core import Batch, Code, Symbols, seeded
from narrows.core.check import RequestError
from narrows.kernels.medoids import k_medoids
from narrows.priors.riemannian import Riemannian


def prior(centres, variances, **options):
    made = Riemannian(Symbols(centres.shape[1:]), centroids=len(centres), **options).double()
    made.centres.copy_(centres)
    made.variances.copy_(variances)
    return made


def test_the_metric_is_its_definition():
    torch.manual_seed(0)
    centres, variances = torch.randn(4, 3).double(), torch.rand(4, 3).double() + 0.1
    made = prior(centres, variances, regularisation=0.3, decay=0.7)
    made.rho.fill_(1.3)
    z = torch.randn(5, 3).double()
    for row, found in zip(z, made.metric(z).exp(), strict=True):
        expected = 0.3 * torch.exp(-0.7 * row @ row) * torch.eye(3).double()
        for c, v in zip(centres, variances, strict=True):
            precision = torch.diag(1 / v)
            expected = expected + precision * torch.exp(-(row - c) @ precision @ (row - c) / 1.3**2)
        assert torch.allclose(torch.diag(found), expected)
    full = torch.stack([torch.linalg.det(torch.diag(g)) for g in made.metric(z).exp()])
    assert torch.allclose(made.log_volume(z), 0.5 * full.log())


def test_around_one_centroid_the_volume_is_that_of_a_gaussian():
    """Z q / (2 rho^2) with q the Mahalanobis distance: a Gaussian with covariance rho^2 S / Z, up to lambda."""
    variances = torch.tensor([[0.5, 0.1]]).double()
    made = prior(torch.tensor([[2.0, -1.0]]).double(), variances, regularisation=1e-12)
    made.rho.fill_(0.8)
    z = made.centres + 0.3 * torch.randn(50, 2).double()
    mahalanobis = ((z - made.centres).square() / variances).sum(1)
    closed = -0.5 * variances.log().sum() - 2 * mahalanobis / (2 * 0.8**2)
    assert torch.allclose(made.log_volume(z), closed, atol=1e-5)
    with seeded(0):
        drawn = made.sample(20_000, steps=60)
    assert torch.allclose(drawn.mean(0), made.centres[0], atol=0.02)
    assert torch.allclose(drawn.var(0), variances[0] * 0.8**2 / 2, rtol=0.05)


def test_draws_follow_the_volume_on_a_grid():
    torch.manual_seed(0)
    centres = torch.tensor([[-1.0, 0.0], [1.0, 0.5], [0.0, 1.5]]).double()
    made = prior(centres, 0.3 * torch.ones(3, 2).double(), regularisation=0.5, decay=1.0)
    made.rho.fill_(1.5)
    side = torch.linspace(-7, 8, 151).double()
    grid = torch.cartesian_prod(side, side)
    density = made.log_volume(grid).softmax(0)
    with seeded(0):
        drawn = made.sample(20_000, steps=100)
    for power in (1, 2):
        assert torch.allclose((drawn**power).mean(0), (density[:, None] * grid**power).sum(0), atol=0.1)


def test_the_centroids_are_medoids_with_their_own_variances():
    torch.manual_seed(0)
    means, deviation = torch.randn(40, 2), torch.rand(40, 2)
    made = Riemannian(Symbols((2,)), centroids=6)
    with seeded(0):
        made.prepare(None, Batch(means, condition={"deviation": deviation}))
    rows = torch.cdist(made.centres, means).argmin(1)
    assert torch.equal(made.centres, means[rows])
    assert torch.allclose(made.variances, deviation[rows].square())
    apart = [[float((a - b).norm()) for b in made.centres if not torch.equal(a, b)] for a in made.centres]
    assert float(made.rho) == pytest.approx(max(map(min, apart)))
    assert not made.has_nll
    assert made.players() == []


def test_medoids_are_the_best_of_all_choices():
    with seeded(0):
        x = torch.cat([torch.randn(5, 2), 8 + torch.randn(4, 2), torch.tensor([[0.0, 9.0]])])

        def cost(chosen):
            return float(torch.cdist(x, x[list(chosen)]).min(1).values.sum())

        best = min(itertools.combinations(range(10), 3), key=cost)
        found = k_medoids(x, 3)
    assert cost(found.tolist()) == pytest.approx(cost(best))
    equal = torch.zeros(5, 2)
    assert len(k_medoids(equal, 5).unique()) == 5


def test_what_cannot_be_is_said_in_a_sentence():
    codes = torch.randn(9, 2)
    with pytest.raises(RequestError, match="Gaussian posterior, such as `vae`"):
        Riemannian(Symbols((2,)), centroids=3).prepare(None, Batch(codes))
    with pytest.raises(RequestError, match="Gaussian posterior, such as `vae`"):
        Riemannian(Symbols((2,))).check(None, Code(codes), 500)
    with pytest.raises(RequestError, match="at most the number of codes, 9, but got 10"):
        Riemannian(Symbols((2,)), centroids=10).prepare(
            None, Batch(codes, condition={"deviation": torch.ones(9, 2)})
        )
    for wrong in ({"centroids": 0}, {"regularisation": 0.0}, {"decay": -1.0}, {"decay": math.nan}):
        with pytest.raises(RequestError, match=next(iter(wrong))):
            Riemannian(Symbols((2,)), **wrong)
    with pytest.raises(RequestError, match="leapfrog"):
        Riemannian(Symbols((2,))).sample(2, leapfrog=0)
