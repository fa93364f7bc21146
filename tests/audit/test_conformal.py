"""Conformal p-values: against their definition, and the share of fresh rows that they flag."""

import numpy as np
import pytest

from narrows.audit.metrics.conformal import check_rows, discoveries, p_values, threshold, typical_p_values
from narrows.core.check import RequestError


def test_p_values_are_counts_of_scores_at_least_as_high():
    rng = np.random.default_rng(0)
    known, scores = rng.integers(0, 9, 40).astype(float), rng.integers(-1, 11, 30).astype(float)
    direct = [(1 + sum(s >= score for s in known)) / 41 for score in scores]
    np.testing.assert_array_equal(p_values(scores, known), direct)


def test_typical_p_values_are_those_of_distances_from_the_mean_of_all():
    rng = np.random.default_rng(0)
    known, scores = rng.normal(size=40), 2 * rng.normal(size=30)
    direct = []
    for score in scores:
        away = np.abs(np.append(known, score) - np.append(known, score).mean())
        direct.append(np.mean(away >= away[-1] - 1e-12))
    np.testing.assert_allclose(typical_p_values(scores, known), direct)


def test_q_values_are_the_least_rate_at_which_a_row_is_flagged():
    p = np.random.default_rng(0).uniform(size=50) ** 3
    for rate in (0.05, 0.1, 0.3):
        ranked = np.sort(p)
        most = max((k for k in range(1, 51) if ranked[k - 1] <= rate * k / 50), default=0)
        flagged = np.zeros(50, bool)
        flagged[np.argsort(p)[:most]] = True
        np.testing.assert_array_equal(discoveries(p) <= rate, flagged)


@pytest.mark.parametrize("test", [p_values, typical_p_values])
@pytest.mark.parametrize(("n", "alpha"), [(99, 0.01), (60, 0.05), (19, 0.05)])
def test_at_most_alpha_of_fresh_rows_is_flagged_over_1000_splits(test, n, alpha):
    """Of heavy-tailed scores, of which each split draws calibration and fresh rows."""
    rng, fresh = np.random.default_rng(0), 200
    scores = rng.standard_t(2, size=5000)
    shares = []
    for _ in range(1000):
        drawn = rng.choice(scores, n + fresh, replace=False)
        shares.append((test(drawn[n:], drawn[:n]) <= alpha).mean())
    error = np.std(shares) / np.sqrt(len(shares))
    assert np.mean(shares) <= alpha + 3 * error
    # and not far less, with a p-value of (n + 1) alpha levels
    assert np.mean(shares) >= np.floor((n + 1) * alpha) / (n + 1) - 3 * error


def test_the_false_discovery_rate_holds_over_1000_splits():
    rng = np.random.default_rng(0)
    rates = []
    for _ in range(1000):
        known, normal, odd = rng.normal(size=300), rng.normal(size=90), 4 + rng.normal(size=10)
        flagged = discoveries(p_values(np.append(normal, odd), known)) <= 0.2
        rates.append(flagged[:90].sum() / max(1, flagged.sum()))
    assert np.mean(rates) <= 0.2 + 3 * np.std(rates) / np.sqrt(1000)
    assert np.mean(rates) > 0.05


def test_training_scores_flag_more_than_they_say_and_calibration_scores_do_not():
    """The reason for calibration rows: a model that has seen its rows scores them lower."""
    rng = np.random.default_rng(0)
    shares = {"train": [], "kept": []}
    for _ in range(200):
        train, kept, fresh = (rng.normal(size=(n, 8)) for n in (40, 40, 400))
        precision = np.linalg.inv(np.cov(train.T))
        score = {k: np.einsum("nd,de,ne->n", x, precision, x) for k, x in [("train", train), ("kept", kept)]}
        found = np.einsum("nd,de,ne->n", fresh, precision, fresh)
        for name, known in score.items():
            shares[name].append((found > threshold(known, 0.1)).mean())
    assert np.mean(shares["train"]) > 0.2
    assert np.mean(shares["kept"]) < 0.13


def test_too_few_rows_and_levels_that_are_no_fraction():
    check_rows("alpha", 0.05, 19)
    with pytest.raises(RequestError, match="at least 19 calibration rows, and there are 18"):
        check_rows("alpha", 0.05, 18)
    for level in (0, 1, 1.5, -0.1, float("nan")):
        with pytest.raises(RequestError, match="fraction"):
            check_rows("alpha", level, 10**6)
