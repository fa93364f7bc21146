"""The Frechet distance against the closed form of Gaussians."""

import math

import pytest
import torch
from scipy.linalg import sqrtm

from narrows.audit.metrics.frechet import classifier_features, frechet, principal_features
from narrows.core.check import RequestError


def test_clouds_with_known_moments():
    """One-dimensional and diagonal Gaussians: |m - n|^2 + sum (s - t)^2, on clouds with exactly these moments."""
    torch.manual_seed(0)
    cloud = torch.randn(50, 3, dtype=torch.float64)
    cloud = cloud - cloud.mean(0)
    cloud = cloud @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(cloud.T))).T  # covariance I, mean 0
    a = cloud * torch.tensor([1.0, 2.0, 3.0])
    b = cloud * torch.tensor([2.0, 2.0, 0.5]) + torch.tensor([1.0, 0.0, -2.0])
    assert math.isclose(frechet(a, b), (1 + 4) + (1 + 0 + 2.5**2), rel_tol=1e-9)
    assert abs(frechet(a, a)) < 1e-9


def test_any_covariances_against_scipy_s_matrix_root():
    torch.manual_seed(0)
    a = torch.randn(40, 4, dtype=torch.float64) @ torch.randn(4, 4, dtype=torch.float64)
    b = torch.randn(30, 4, dtype=torch.float64) @ torch.randn(4, 4, dtype=torch.float64) + 1
    s, t = torch.cov(a.T), torch.cov(b.T)
    root = torch.from_numpy(sqrtm((s @ t).numpy()).real)
    expected = (a.mean(0) - b.mean(0)).square().sum() + (s + t - 2 * root).trace()
    assert math.isclose(frechet(a, b), float(expected), rel_tol=1e-8)
    assert math.isclose(frechet(a, b), frechet(b, a), rel_tol=1e-9)


def test_samples_of_gaussians_come_near_the_closed_form():
    torch.manual_seed(0)
    a, b = torch.randn(20_000, 5), 1.5 * torch.randn(20_000, 5) + 0.3
    assert math.isclose(frechet(a, b), 5 * 0.3**2 + 5 * 0.5**2, rel_tol=0.05)


def test_rows_on_a_plane_are_no_trouble():
    torch.manual_seed(0)
    a = torch.randn(10, 1) @ torch.randn(1, 30)
    assert 0 <= frechet(a, a + 1) < 31


@pytest.mark.parametrize(("a", "b"), [((1, 3), (5, 3)), ((5, 3), (5, 4))])
def test_too_few_rows_and_other_widths_are_refused(a, b):
    with pytest.raises(RequestError, match="`b`"):
        frechet(torch.zeros(a), torch.zeros(b))


def test_classifier_features_tell_classes_apart_and_are_the_same_twice():
    torch.manual_seed(0)
    labels = torch.arange(400) % 2
    x = torch.randn(400, 1, 4, 4) + 1.5 * labels[:, None, None, None] * torch.eye(4)
    features = classifier_features(x, labels, steps=100)
    again = classifier_features(x, labels, steps=100)
    assert torch.equal(features(x), again(x))
    near = frechet(features(x[labels == 0][:100]), features(x[labels == 0][100:]))
    far = frechet(features(x[labels == 0]), features(x[labels == 1]))
    assert far > 10 * near


def test_principal_features_are_white():
    torch.manual_seed(0)
    x = torch.randn(500, 6) @ torch.randn(6, 6)
    z = principal_features(x, width=4)(x)
    assert torch.allclose(torch.cov(z.T), torch.eye(4), atol=1e-4)
