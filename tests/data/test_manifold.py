"""The manifold: its points, the same distances in any space, and outliers."""

import numpy as np
import pytest
import torch

import narrows.data as nd
from narrows.core.check import RequestError


def test_points_are_those_of_their_coordinates():
    source = nd.open("manifold", d=3, D=10, n=400)
    x = source.train.x.numpy()
    u = source.truth.coordinates(x)
    np.testing.assert_allclose(source.truth.embed(u), x, atol=1e-5)
    assert abs(u).max() <= np.sqrt(3) + 1e-5
    np.testing.assert_allclose(u.std(0), 1, atol=0.1)
    height = 0.5 * np.sin(u @ source.truth.waves.T + source.truth.phases)
    np.testing.assert_allclose((x**2).sum(1), (u**2).sum(1) + (height**2).sum(1), rtol=1e-4)


def test_distances_are_the_same_in_any_space():
    small, large = (nd.open("manifold", d=2, D=width, n=60, tests=5).train.x.double() for width in (4, 50))
    assert torch.allclose(torch.cdist(small, small), torch.cdist(large, large), atol=1e-4)


def test_outliers_are_far_and_none_is_in_the_test_part():
    source = nd.open("manifold", d=2, D=20, n=1000, outliers=0.1)
    clean = nd.open("manifold", d=2, D=20, n=1000)
    length = source.train.x.norm(dim=1)
    size = float(clean.test.x.square().sum(1).mean().sqrt())
    far = length > 2.5 * size
    assert int(far.sum()) == 100
    assert torch.equal(source.train.x[~far], clean.train.x[~far])
    assert torch.equal(source.test.x, clean.test.x)


def test_bad_sizes_and_shares_are_refused():
    with pytest.raises(RequestError, match="at least 2 d = 6"):
        nd.open("manifold", d=3, D=5)
    with pytest.raises(RequestError, match="outliers"):
        nd.open("manifold", outliers=1.0)
