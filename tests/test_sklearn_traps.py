"""Faults of other libraries' autoencoders as anomaly detectors, none of which the estimators may have."""

import random

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from narrows.sklearn import VAE, AutoencoderEstimator

QUICK = {"steps": 10, "random_state": 0}


def rank_three(rows, seed=0):
    """Normal rows near three directions of ten, and as many odd ones with the same variances in all directions."""
    rng = np.random.default_rng(seed)
    axes = np.random.default_rng(99).normal(size=(3, 10))
    normal = rng.normal(size=(rows, 3)) @ axes + 0.1 * rng.normal(size=(rows, 10))
    odd = rng.normal(size=(rows, 10)) * np.sqrt((axes**2).sum(0) + 0.01)
    return normal, odd


@pytest.fixture(scope="module")
def fitted():
    """The two detectors of the toy data: with the KL divergence and without."""
    how = {"steps": 400, "lr": 5e-3, "contamination": 0.1, "calibration": 0.2, "random_state": 0}
    rows = rank_three(400)[0]
    return [VAE(latent=3, **how).fit(rows), AutoencoderEstimator("ae", {"latent": 3}, **how).fit(rows)]


def test_rows_off_the_directions_of_the_data_are_odd(fitted):
    normal, odd = rank_three(200, seed=1)
    for model in fitted:
        scores = np.concatenate([model.score_samples(normal), model.score_samples(odd)])
        assert roc_auc_score(np.repeat([1, 0], 200), scores) > 0.97


def test_scores_and_labels_repeat(fitted):
    rows = np.concatenate(rank_three(50, seed=2))
    for model in fitted:
        first, labels = model.score_samples(rows), model.predict(rows)
        torch.manual_seed(5)
        np.testing.assert_array_equal(model.score_samples(rows), first)
        np.testing.assert_array_equal(model.predict(rows), labels)


def test_the_kl_divergence_counts():
    """With a large weight it leaves a code that says nothing about the row."""
    rows = rank_three(200)[0]
    spread = [
        VAE(latent=2, beta=beta, steps=200, lr=5e-3, random_state=0).fit(rows).transform(rows).std()
        for beta in (1.0, 1e4)
    ]
    assert spread[0] > 0.5
    assert spread[1] < 0.2


@pytest.mark.parametrize("rows", [2, 9, 31])
def test_few_rows_are_a_batch(rows):
    X = rank_three(rows)[0]
    model = VAE(latent=2, **QUICK).fit(X)
    assert np.isfinite(model.transform(X)).all()
    assert np.isfinite(model.score_samples(X)).all()


def test_a_small_change_of_a_constant_column_is_no_anomaly():
    for kind in ("vae", "ae"):
        X = rank_three(100)[0]
        X[:, 4] = 5.0
        model = AutoencoderEstimator(kind, {"latent": 3}, steps=100, random_state=0).fit(X)
        moved = X.copy()
        moved[:, 4] += 1e-4
        assert np.abs(model.score_samples(moved) - model.score_samples(X)).max() < 0.1
        moved[:, 4] += 3.0
        assert (model.score_samples(moved) < model.score_samples(X) - 1).all()


def test_global_random_states_are_left_alone():
    def states():
        return np.random.get_state()[1].tolist(), torch.get_rng_state().tolist(), random.getstate()  # noqa: NPY002

    before = states()
    model = VAE(latent=2, contamination=0.3, calibration=0.3, random_state=1, steps=3)
    model.fit_predict(rank_three(40)[0])
    model.sample(3)
    assert states() == before


def test_each_row_has_its_own_reconstruction_on_both_sides_of_the_mean(fitted):
    """Not one generated row for every query, and no activation that cannot reach values below the mean."""
    rows = rank_three(300, seed=3)[0]
    for model in fitted:
        back = model.inverse_transform(model.transform(rows))
        assert np.corrcoef(back.ravel(), rows.ravel())[0, 1] > 0.95
        assert (back.min(0) < rows.mean(0) - rows.std(0)).all()


def test_normal_rows_are_flagged_as_often_as_stated(fitted):
    """The threshold is of rows that the model did not see: with 80 of them, by chance up to a share of about 0.2."""
    fresh = rank_three(2000, seed=4)[0]
    for model in fitted:
        assert 0.03 < (model.predict(fresh) == -1).mean() < 0.2
