"""The world of a mixture whose components are the leaves of a tree."""

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

import narrows.data as nd
from narrows.core.check import RequestError


def test_every_level_divides_the_clusters_above_it():
    truth = nd.open("tree", n=5, tests=2, levels=4, children=6, d=30, shrink=0.5).truth
    assert [len(level) for level in truth.levels] == [6, 36, 216, 1296]
    above = np.zeros((1, 30))
    for depth, level in enumerate(truth.levels):
        steps = level - above[np.arange(len(level)) // 6]
        assert abs(steps.std() / 0.5**depth - 1) < 0.1
        above = level


def test_the_factors_are_the_branches_on_the_way_to_the_leaf():
    """A leaf's number in base 3 is its path; observations are noise around it."""
    source = nd.open("tree", n=4000, tests=10, levels=3, children=3, noise=0.3)
    path = source.train.factors.numpy()
    leaf = np.array([int("".join(map(str, row)), 3) for row in path])
    rest = source.train.x.numpy() - source.truth.leaves[leaf]
    assert abs(rest.std() - 0.3) < 0.003
    assert (source.truth.path(leaf) == path).all()
    assert np.bincount(leaf, minlength=27).min() > 100
    means = [source.train.x.numpy()[path[:, 0] == k].mean(0) for k in range(3)]
    inside = source.truth.leaves.reshape(3, 9, -1).mean(1)
    assert np.abs(np.array(means) - inside).max() < 0.15


def test_the_likelihood_is_that_of_the_mixture():
    source = nd.open("tree", n=5, tests=6, d=3, levels=2, children=4, noise=0.7)
    x, truth = source.test.x.numpy(), source.truth
    each = [multivariate_normal(leaf, 0.49 * np.eye(3)).pdf(x) for leaf in truth.leaves]
    np.testing.assert_allclose(truth.log_likelihood(x), np.log(np.mean(each, 0)), rtol=1e-9)


def test_seeds_and_refusals():
    one, same, other = (nd.open("tree", n=9, tests=2, seed=s) for s in (0, 0, 1))
    assert torch.equal(one.train.x, same.train.x)
    assert not torch.equal(one.train.x, other.train.x)
    assert (one.truth.leaves == other.truth.leaves).all()
    assert not (one.truth.leaves == nd.open("tree", n=9, tests=2, tree=1).truth.leaves).any()
    for name, wrong in {"noise": 0, "shrink": 0.0, "children": 1, "levels": 40}.items():
        with pytest.raises(RequestError, match=f"`{name}` must be"):
            nd.open("tree", **{name: wrong})
