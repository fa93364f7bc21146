"""Scores of disentanglement: ideal, constant and duplicated codes, and the definitions by brute force."""

import math

import numpy as np
import pytest

from narrows.audit.metrics.interventions import beta_vae_score, factor_vae_score, irs
from narrows.audit.metrics.modularity import (
    explicitness,
    infomec,
    infomec_scores,
    modularity,
    modularity_score,
)

RNG = np.random.default_rng(0)
FACTORS = np.stack([RNG.integers(0, n, 2000) for n in (2, 3, 4, 5, 6, 7)], 1)
SCORES = (factor_vae_score, beta_vae_score, irs, modularity)
MIXED = FACTORS @ RNG.normal(size=(6, 5)) + RNG.normal(size=(2000, 5))


@pytest.mark.parametrize("score", SCORES)
def test_the_identity_scores_high_and_a_constant_low(score):
    assert score(FACTORS, FACTORS) >= 0.9
    assert score(np.ones((2000, 6)), FACTORS) <= 0.2


@pytest.mark.parametrize("score", SCORES)
def test_a_mixture_of_factors_scores_lower_and_shuffled_ones_lower_still(score):
    mixed = score(MIXED, FACTORS)
    assert mixed < 0.97 * score(FACTORS, FACTORS)
    assert score(MIXED, RNG.permutation(FACTORS)) < mixed


def test_infomec_of_ideal_constant_and_duplicated_codes():
    assert min(infomec(FACTORS, FACTORS)) >= 0.9
    assert infomec(np.ones((2000, 6)), FACTORS) == (0.0, 0.0, 0.0)
    twice = infomec(np.concatenate([FACTORS, FACTORS], 1), FACTORS)
    assert twice.modularity >= 0.9
    assert twice.compactness == pytest.approx((1 / 2 - 1 / 12) / (1 - 1 / 12), abs=0.03)
    assert infomec(MIXED, RNG.permutation(FACTORS)).explicitness <= 0.02


def test_a_latent_that_hardly_moves_is_not_active():
    noise = np.concatenate([FACTORS, 0.01 * RNG.random((2000, 3))], 1)
    assert infomec(noise, FACTORS).modularity == pytest.approx(infomec(FACTORS, FACTORS).modularity, abs=0.01)


def test_infomec_of_discrete_latents_is_counted():
    """Every combination of factors once: ideal scores are exact, and a code of both factors shares its information."""
    grid = np.stack(np.meshgrid(range(4), range(4), range(3), indexing="ij"), -1).reshape(-1, 3).repeat(20, 0)
    ideal = infomec(grid * 0.1 - 0.5, grid)
    assert (ideal.modularity, ideal.compactness) == pytest.approx((1, 1))
    twice = infomec(np.concatenate([grid, grid, np.ones((len(grid), 2))], 1), grid)
    assert twice.modularity == pytest.approx(1)
    assert twice.compactness == pytest.approx((1 / 2 - 1 / 6) / (1 - 1 / 6))
    small = np.concatenate(
        [grid[:, 1:], 0.01 * grid[:, :1]], 1
    )  # a small range is active where values are counted
    assert infomec(small, grid)[::2] == pytest.approx((1, 1))
    both = infomec(np.stack([4 * grid[:, 0] + grid[:, 1], grid[:, 2]], 1), grid)
    assert both.modularity == pytest.approx(((1 / 2 + 1) / 2 - 1 / 3) / (1 - 1 / 3))


def test_explicitness_is_half_without_information():
    assert explicitness(FACTORS, FACTORS) >= 0.98
    assert explicitness(np.ones((2000, 2)), FACTORS) == pytest.approx(0.5)
    assert explicitness(RNG.normal(size=(2000, 4)), FACTORS) == pytest.approx(0.5, abs=0.05)


def test_irs_is_that_of_loops():
    def brute(z, v):
        scores, weights = [], []
        for column in z.T:
            largest = max(abs(column - column.mean()))
            best = -math.inf
            for factor in v.T:
                moved = []
                for value in sorted(set(factor.tolist())):
                    own = column[factor == value]
                    moved.append(np.quantile(abs(own - own.mean()), 0.9))
                best = max(best, 1 - sum(moved) / len(moved) / largest)
            scores.append(best)
            weights.append(largest)
        return sum(s * w for s, w in zip(scores, weights)) / sum(weights)

    assert irs(MIXED, FACTORS, quantile=0.9) == pytest.approx(brute(MIXED, FACTORS), abs=1e-12)


def test_modularity_and_shares_are_those_of_loops():
    m = RNG.random((4, 3))
    total = 0.0
    for row in m:
        f = int(row.argmax())
        total += 1 - sum(row[k] ** 2 for k in range(3) if k != f) / (row[f] ** 2 * 2)
    assert modularity_score(m) == pytest.approx(total / 4)
    first, second = (
        (np.mean([max(row) / sum(row) for row in matrix]) - 1 / len(matrix[0])) / (1 - 1 / len(matrix[0]))
        for matrix in (m.tolist(), m.T.tolist())
    )
    assert infomec_scores(m) == pytest.approx((first, second))


def test_a_latent_without_information_counts_as_zero():
    assert modularity_score([[1.0, 0.0], [0.0, 0.0]]) == 0.5
    assert infomec_scores([[1.0, 0.0], [0.0, 0.0]])[0] == pytest.approx(0.5)


def test_the_scale_of_a_latent_does_not_matter():
    scaled = MIXED * [1e-3, 1, 10, 1e4, 2]
    assert factor_vae_score(scaled, FACTORS) == factor_vae_score(MIXED, FACTORS)
    assert beta_vae_score(scaled, FACTORS) == pytest.approx(beta_vae_score(MIXED, FACTORS), abs=0.01)


def test_values_that_nobody_shares_are_not_measured():
    alone = np.stack([np.arange(200), np.arange(200)[::-1]], 1)
    assert all(math.isnan(score(alone, alone)) for score in (factor_vae_score, beta_vae_score, irs))


def test_scores_are_the_same_twice():
    for score in (factor_vae_score, beta_vae_score, explicitness, infomec):
        assert score(MIXED, FACTORS, seed=3) == score(MIXED, FACTORS, seed=3)
