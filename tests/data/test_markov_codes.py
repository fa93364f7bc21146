"""The Potts field against sums over all grids, and its draws against their probabilities."""

import itertools
import math

import numpy as np
import pytest

from narrows import data as nd
from narrows.core.check import RequestError
from narrows.data.synthetic.markov_codes import MarkovCodesTruth


def everything(truth):
    cells = truth.rows * truth.columns
    grids = np.array(list(itertools.product(range(truth.codes), repeat=cells)))
    return grids.reshape(-1, truth.rows, truth.columns)


def weights(truth, grids):
    """Their weights, neighbour by neighbour."""
    total = np.zeros(len(grids))
    for r, c in itertools.product(range(truth.rows), range(truth.columns)):
        total -= truth.slope * grids[:, r, c] / (truth.codes - 1)
        if r:
            total += truth.coupling * (grids[:, r, c] == grids[:, r - 1, c])
        if c:
            total += truth.coupling * (grids[:, r, c] == grids[:, r, c - 1])
    return np.exp(total)


SIZES = [(3, 2, 3), (2, 3, 3), (1, 4, 3), (5, 1, 3), (3, 3, 2), (1, 1, 4)]


@pytest.mark.parametrize("size", SIZES)
def test_entropy_and_probabilities_are_those_of_a_sum_over_all_grids(size):
    truth = MarkovCodesTruth(*size, coupling=0.7, slope=1.3)
    grids = everything(truth)
    w = weights(truth, grids)
    p = w / w.sum()
    assert truth.entropy == pytest.approx(float(-(p * np.log(p)).sum()), abs=1e-10)
    np.testing.assert_allclose(truth.log_likelihood(grids), np.log(p), atol=1e-10)
    assert truth.bits == pytest.approx(truth.entropy / math.log(2) / (size[0] * size[1]))


@pytest.mark.parametrize("size", SIZES[:5])
def test_draws_have_these_probabilities(size):
    truth = MarkovCodesTruth(*size, coupling=0.7, slope=1.3)
    grids, n = everything(truth), 40_000
    powers = truth.codes ** np.arange(grids[0].size)[::-1]
    found = np.bincount(truth.draw(np.random.default_rng(0), n).reshape(n, -1) @ powers, minlength=len(grids))
    expected = n * np.exp(truth.log_likelihood(grids))
    common = expected >= 5
    statistic = ((found - expected)[common] ** 2 / expected[common]).sum()
    degrees = common.sum() - 1
    assert statistic < degrees + 5 * math.sqrt(2 * degrees)
    assert expected.max() > 3 * expected.mean()  # not uniform


def test_the_surprise_of_draws_of_a_large_grid_is_the_entropy():
    source = nd.open("markov-codes", n=4000, tests=100)
    truth, x = source.truth, source.train.all().x.numpy()
    surprise = -truth.log_likelihood(truth.tokens(x))
    assert source.spec.shape == (1, 7, 7)
    assert source.spec.values == "unit"
    assert surprise.mean() == pytest.approx(truth.entropy, abs=4 * surprise.std() / math.sqrt(4000))
    np.testing.assert_array_equal(truth.images(truth.tokens(x)), x)
    assert truth.bits < 1.2  # far below log2 4


def test_without_coupling_tokens_are_independent():
    truth = MarkovCodesTruth(4, 6, codes=3, coupling=0.0, slope=2.0)
    p = np.exp([0.0, -1.0, -2.0])
    p /= p.sum()
    assert truth.entropy == pytest.approx(-24 * float((p * np.log(p)).sum()))


def test_seeds_and_sizes():
    one, two = (nd.open("markov-codes", n=50, tests=5, seed=seed).train.all().x for seed in (0, 1))
    assert not np.array_equal(one.numpy(), two.numpy())
    assert np.array_equal(one.numpy(), nd.open("markov-codes", n=50, tests=5).train.all().x.numpy())
    with pytest.raises(RequestError, match=r"65,536.*fewer columns"):
        nd.open("markov-codes", columns=9)
    with pytest.raises(RequestError, match="codes"):
        nd.open("markov-codes", codes=1)
