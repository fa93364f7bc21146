"""Splines against those of SciPy, and control points against a loop over chunks."""

import numpy as np
import pytest
import torch
from scipy.interpolate import BSpline

from narrows.core.check import RequestError
from narrows.nets.spline import Spline, SplineDecoder, SplineEncoder, basis


@pytest.mark.parametrize(("degree", "points", "chunks"), [(4, 8, 3), (4, 5, 1), (1, 3, 2), (3, 9, 4)])
def test_the_basis_is_that_of_scipy(degree, points, chunks):
    spline = Spline(50, points=points, degree=degree, chunks=chunks)
    times = np.linspace(0, 49, 301)
    expected = BSpline.design_matrix(times, spline.knots.numpy(), degree).toarray()
    found = spline.at(torch.from_numpy(times)).numpy()
    assert found.shape == (301, spline.control_points)
    np.testing.assert_allclose(found, expected, atol=1e-13)


def test_control_points_are_the_ridge_solution_of_each_chunk_after_its_first_point():
    rng, ridge = np.random.default_rng(0), 0.3
    x = rng.normal(size=(41, 2))
    spline = Spline(41, points=6, degree=4, chunks=2)
    encoder = SplineEncoder(spline, (41, 2), ridge).double()
    encoder.matrix = spline.solution(ridge)
    found = encoder(torch.from_numpy(x)[None])[0, :, 0].unflatten(0, (-1, 2)).numpy()
    own = np.concatenate([[0] * 5, [0.5], [1] * 5]) * 20  # one chunk alone, 6 points of degree 4
    first = BSpline.design_matrix(np.arange(21.0), own, 4).toarray()
    c = np.linalg.solve(first.T @ first + ridge * np.eye(6), first.T @ x[:21])
    np.testing.assert_allclose(found[:6], c, atol=1e-10)
    later = BSpline.design_matrix(np.arange(1.0, 21), own, 4).toarray()
    b0, b = later[:, :1], later[:, 1:]
    rest = np.linalg.solve(b.T @ b + ridge * np.eye(5), b.T @ (x[21:] - b0 * c[-1]))
    np.testing.assert_allclose(found[6:], rest, atol=1e-10)


def test_the_two_sides_of_a_boundary_are_equal_for_any_control_points():
    torch.manual_seed(0)
    spline = Spline(31, points=7, chunks=3)
    decoder = SplineDecoder(spline, (31, 2))
    z = torch.randn(4, spline.control_points * 2, 1, dtype=torch.float64)
    for boundary in (10.0, 20.0):
        before, after = torch.tensor([boundary], dtype=torch.float64), torch.tensor([boundary + 1e-12])
        assert torch.allclose(decoder.at(z, before), decoder.at(z, after.double()), atol=1e-9)
        number = int(boundary / 10) * 6
        assert torch.allclose(decoder.at(z, before)[:, 0], z[:, 2 * number : 2 * number + 2, 0])


def test_a_polynomial_of_the_degree_is_encoded_exactly():
    t = torch.linspace(-1, 1, 60, dtype=torch.float64)
    x = torch.stack([t**4 - t, 2 * t**3], 1)[None]
    spline = Spline(60, points=6)
    c = spline.solution(1e-10) @ x
    assert torch.allclose(spline.at(torch.arange(60)) @ c, x, atol=1e-6)


def test_constants_are_one_everywhere():
    knots = torch.tensor([0, 0, 0, 1, 3, 3, 3], dtype=torch.float64)
    times = torch.linspace(0, 3, 50, dtype=torch.float64)
    assert torch.allclose(basis(times, knots, 2).sum(1), torch.ones(50, dtype=torch.float64))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"points": 4}, "points"),
        ({"points": 6, "chunks": 20}, "chunks"),
        ({"points": 6, "degree": 0}, "degree"),
    ],
)
def test_impossible_splines_are_refused(options, named):
    with pytest.raises(RequestError, match=named):
        Spline(20, **options)
