"""The world of a branching tree."""

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

import narrows.data as nd
from narrows.core.check import RequestError


def test_nodes_are_steps_from_their_parents():
    truth = nd.open("branching", n=5, tests=2, depth=9, d=40).truth
    steps = truth.nodes[1:] - truth.nodes[(np.arange(1, len(truth.nodes)) - 1) // 2]
    assert abs(steps.mean()) < 0.02
    assert abs(steps.std() - 1) < 0.02
    assert not truth.nodes[0].any()
    assert truth.depths[[0, 1, 2, 3, 6, 7, -1]].tolist() == [0, 1, 1, 2, 2, 3, 9]


def test_observations_are_noise_around_their_nodes():
    source = nd.open("branching", n=4000, tests=10, noise=0.3)
    depth, node = source.train.factors.numpy().T
    rest = source.train.x.numpy() - source.truth.nodes[node]
    assert abs(rest.std() - 0.3) < 0.003
    assert (source.truth.depths[node] == depth).all()
    assert np.bincount(node, minlength=63).min() > 30


def test_the_likelihood_is_that_of_the_mixture():
    source = nd.open("branching", n=5, tests=6, d=3, depth=2, noise=0.7)
    x, truth = source.test.x.numpy(), source.truth
    each = [multivariate_normal(node, 0.49 * np.eye(3)).pdf(x) for node in truth.nodes]
    np.testing.assert_allclose(truth.log_likelihood(x), np.log(np.mean(each, 0)), rtol=1e-9)


def test_seeds_and_refusals():
    one, same, other = (nd.open("branching", n=9, tests=2, seed=s) for s in (0, 0, 1))
    assert torch.equal(one.train.x, same.train.x)
    assert not torch.equal(one.train.x, other.train.x)
    assert (one.truth.nodes == other.truth.nodes).all()
    with pytest.raises(RequestError, match="`noise` must be above 0"):
        nd.open("branching", noise=0)
    with pytest.raises(RequestError, match="`depth` must be a whole number from 1 to 16"):
        nd.open("branching", depth=40)
