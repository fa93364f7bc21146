"""Faults of other detectors by autoencoders, of which ours must have none."""

import random

import numpy as np
import pytest
import torch

import narrows as nr

RNG = np.random.default_rng(3)
MIX = RNG.normal(size=(2, 5))


def rows(n):
    return (RNG.normal(size=(n, 2)) @ MIX + 0.1 * RNG.normal(size=(n, 5))).astype(np.float32)


X = rows(400)
DETECTORS = ("vae", "ae")


@pytest.fixture(scope="module", params=DETECTORS)
def run(request, tmp_path_factory):
    """A detector that kept a fifth of its training rows."""
    how = {"latent": 2, "steps": 200, "progress": False, "training": {"calibration": 0.2}}
    return nr.fit(X, request.param, tmp_path_factory.mktemp("runs") / "r", **how)


def test_two_calls_of_score_agree_and_draws_elsewhere_do_not_matter(run):
    first = run.score(X[:50])
    torch.manual_seed(99)
    np.random.seed(99)  # noqa: NPY002
    torch.rand(7)
    assert np.array_equal(run.score(X[:50]), first)


def test_fit_and_score_leave_global_generators_alone(tmp_path):
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    random.seed(5)
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    made = nr.fit(X[:60], "vae", tmp_path / "r", latent=1, steps=3, seed=1, progress=False)
    made.score(X[:5])
    assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002
    assert random.getstate() == before[2]
    nr.resume(made.path, steps=5, data=X[:60], progress=False)
    assert torch.equal(torch.get_rng_state(), before[0])


@pytest.mark.parametrize("method", DETECTORS)
def test_fewer_than_32_rows(tmp_path, method):
    made = nr.fit(X[:20], method, tmp_path / "r", latent=1, steps=5, progress=False)
    assert np.isfinite(made.score(X[:30])).all()


@pytest.mark.parametrize("likelihood", ["auto", "student-t", "composite"])
def test_a_constant_column_that_moves_by_a_ten_thousandth(tmp_path, likelihood):
    x = np.concatenate([X, np.full((400, 1), 3.0, np.float32)], 1)
    how = {"latent": 2, "steps": 50, "progress": False, "likelihood": likelihood}
    made = nr.fit(x, "vae", tmp_path / "r", **how)
    moved = x[:50].copy()
    moved[:, 5] += 1e-4
    change = np.abs(made.score(moved) - made.score(x[:50])).max()
    assert change < 0.1 * made.score(x).std()


def test_rows_below_the_mean_are_rebuilt(run):
    low = X[X[:, 0] < np.quantile(X[:, 0], 0.1)]
    rebuilt = run.reconstruct(low)
    error, spread = np.square(rebuilt - low).mean(), np.square(low - X.mean(0)).mean()
    assert error < 0.1 * spread
    assert (rebuilt[:, 0] < X[:, 0].mean()).all()


def test_each_row_has_a_score_of_its_own(run):
    scores = run.score(X[:50])
    assert len(np.unique(scores)) == 50
    moved = X[:50].copy()
    moved[0] += 5
    assert np.array_equal(np.delete(run.score(moved), 0), np.delete(scores, 0))
    assert run.score(moved)[0] > scores[0]


def test_the_threshold_is_that_of_rows_which_training_has_not_seen(run):
    known = run.calibration()
    assert known.rows == "kept"
    kind = "nll" if run.method == "vae" else "distortion"
    found = run.detect(rows(2000), contamination=0.1)
    assert found.threshold == pytest.approx(float(np.quantile(known.of(kind), 0.9)))
    assert found.flag.mean() < 0.1 + 4 * np.sqrt(0.1 * 0.9 / len(known))
