"""Sigma points against moments in closed form, and the loss against one written out."""

import pytest
import torch
from torch.distributions import MultivariateNormal, kl_divergence

from narrows.bottlenecks.gaussian.full import FullGaussian
from narrows.core import Batch, seeded
from narrows.core.check import RequestError
from narrows.methods.variational.uae import uae
from narrows.objectives.unscented import sigma_points, wasserstein_to_standard


def posteriors(width, rows=3):
    """Gaussians with full covariances; their factors are not symmetric, so that rows are not columns."""
    torch.manual_seed(0)
    below = torch.randn(rows, width, width).double().tril(-1)
    factor = below + torch.diag_embed(torch.rand(rows, width).double() + 0.5)
    return MultivariateNormal(torch.randn(rows, width).double(), scale_tril=factor)


def test_sigma_points_are_exact_on_quadratics():
    q = posteriors(4)
    matrix, vector = torch.randn(4, 4).double(), torch.randn(4).double()
    z = sigma_points(q)
    assert z.shape == (8, 3, 4)
    found = (torch.einsum("sbi,ij,sbj->sb", z, matrix, z) + z @ vector + 2).mean(0)
    exact = torch.einsum("bij,ij->b", q.covariance_matrix, matrix) + q.mean @ vector + 2
    exact = exact + torch.einsum("bi,ij,bj->b", q.mean, matrix, q.mean)
    assert torch.allclose(found, exact)


def test_some_points_are_points_without_replacement():
    q = posteriors(3)
    with seeded(0):
        some = sigma_points(q, 4)
    every = sigma_points(q)
    for b in range(3):
        same = [[bool(torch.equal(one, other)) for other in every[:, b]] for one in some[:, b]]
        assert [sum(row) for row in same] == [1, 1, 1, 1]
        assert max(sum(column) for column in zip(*same, strict=True)) == 1


def test_the_distance_is_that_of_gaussians():
    """Against the closed form with a matrix square root, by eigenvalues."""
    q = posteriors(4)
    values, vectors = torch.linalg.eigh(q.covariance_matrix)
    root = vectors @ torch.diag_embed(values.sqrt()) @ vectors.mT
    expected = q.mean.square().sum(-1) + (root - torch.eye(4)).square().sum((-1, -2))
    assert torch.allclose(wasserstein_to_standard(q), expected)


def test_a_full_posterior_has_its_divergence_and_its_draws():
    torch.manual_seed(0)
    part = FullGaussian(3).double()
    code = part(torch.randn(5, FullGaussian.features_of(3)).double())
    standard = MultivariateNormal(torch.zeros(3).double(), torch.eye(3).double())
    assert torch.allclose(code.costs["kl"], kl_divergence(code.q, standard))
    drawn = code.q.sample((50_000,))[:, 0]
    assert torch.allclose(torch.cov(drawn.T), code.q.covariance_matrix[0], rtol=0.05, atol=0.05)
    below = code.q.scale_tril.tril(-1)
    assert (below != 0).sum() == 5 * 3


@pytest.mark.parametrize("covariance", ["diagonal", "full"])
def test_the_loss_is_that_of_the_paper(covariance):
    """One distortion of the mean of outputs; the Jacobian by autograd, one output at a time, over many draws."""
    torch.manual_seed(0)
    options = {"latent": 2, "points": 4, "covariance": covariance, "weight": 0.3, "smoothness": 0.7}
    model = uae((5,), net="mlp:6", **options).double().train()
    batch = Batch(torch.randn(3, 5).double())
    losses = [model.loss(batch) for _ in range(400)]
    q = model.encode(batch).q
    matrix = torch.diag_embed(q.variance) if covariance == "diagonal" else q.covariance_matrix
    factor = torch.linalg.cholesky(matrix)
    expected = 0.0
    for b in range(3):
        points = [q.mean[b] + s * 2**0.5 * factor[b, :, j] for s in (1, -1) for j in range(2)]
        outputs = torch.stack([model.decode(z[None])[0] for z in points])
        jacobian = torch.autograd.functional.jacobian(lambda z: model.decode(z[None])[0], q.mean[b])
        values, vectors = torch.linalg.eigh(matrix[b])
        root = vectors @ values.sqrt().diag() @ vectors.T
        expected = expected + (batch.x[b] - outputs.mean(0)).square().sum() / 3
        expected = expected + 0.1 * (q.mean[b].square().sum() + (root - torch.eye(2)).square().sum())
        expected = expected + 0.7 / 3 * values.max() * jacobian.square().sum()
    mean = sum(float(loss.total) for loss in losses) / 400
    assert mean == pytest.approx(float(expected), rel=0.01)  # the norm of the Jacobian is estimated


def test_more_points_than_there_are_is_refused():
    with pytest.raises(RequestError, match=r"points.*from 0 to 6.*width 3 has 6 sigma points"):
        uae((5,), latent=3, points=7)
    assert uae((5,), latent=2).objective.points == 4
