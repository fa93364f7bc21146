"""Calibration rows, and the anomalies that they name."""

import json
from dataclasses import replace

import numpy as np
import pytest

import narrows as nr
from narrows.core.check import RequestError
from narrows.runs.verbs.calibration import FILE, own_rows

RNG = np.random.default_rng(0)
LOADINGS = RNG.normal(size=(2, 6))


def rows(n, rng=RNG):
    return rng.normal(size=(n, 2)) @ LOADINGS + 0.2 * rng.normal(size=(n, 6))


X = rows(700)
ODD = 3 * RNG.normal(size=(20, 6))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A VAE that kept a fifth of its training rows."""
    how = {"latent": 2, "steps": 300, "progress": False, "training": {"calibration": 0.2}}
    return nr.fit(X, "vae", tmp_path_factory.mktemp("runs") / "r", **how)


def test_calibration_rows_are_kept_from_training_and_stopping(tmp_path):
    how = {"latent": 2, "progress": False, "patience": 1, "steps": 2, "training": {"calibration": 0.2}}
    first, second = (nr.fit(X, "vae", tmp_path / str(s), seed=s, **how) for s in (0, 1))
    from narrows.train import Plan, validation_part

    plan = Plan.from_json(dict(first.recipe.training))
    parts = [*validation_part(first.data.train, plan), own_rows(first)[0]]
    assert sum(len(part) for part in parts) == len(first.data.train)
    stored = np.concatenate([part.x.numpy() for part in parts])
    assert len(np.unique(stored, axis=0)) == len(stored)
    assert len(parts[2]) == round(0.2 * len(first.data.train))
    np.testing.assert_array_equal(own_rows(first)[0].x, own_rows(second)[0].x)  # the same for all seeds


def test_the_file_has_the_sorted_scores_of_the_kept_rows(run):
    form = json.loads((run.path / FILE).read_text())
    known, kept = run.calibration(), own_rows(run)[0]
    assert (form["rows"], form["n"]) == (known.rows, len(known)) == ("kept", len(kept))
    for kind in ("nll", "distortion", "rate"):
        np.testing.assert_allclose(known.of(kind), np.sort(run.score(kept, kind=kind)), rtol=1e-6)
    assert known.centre == pytest.approx(run.score(kept).mean())
    np.testing.assert_allclose(known.of("typicality"), np.sort(run.score(kept, kind="typicality")), rtol=1e-5)


def test_rows_are_scored_by_as_many_codes_as_the_calibration(run, monkeypatch):
    of_64 = {"samples": 64, "scores": {"nll": np.sort(run.score(own_rows(run)[0], samples=64))}}
    older = replace(run.calibration(), **of_64)
    monkeypatch.setattr(run, "calibration", lambda *given, **how: older)
    np.testing.assert_allclose(run.detect(ODD, alpha=0.05).scores, run.score(ODD, samples=64), rtol=1e-6)
    far = np.abs(run.score(ODD, samples=64) - older.centre)
    np.testing.assert_allclose(run.score(ODD, kind="typicality"), far, rtol=1e-6)


def test_a_run_without_kept_rows_uses_its_test_rows_and_says_so(tmp_path):
    run = nr.fit(X, "ae", tmp_path / "r", latent=2, steps=50, progress=False)
    found = run.detect(ODD, alpha=0.05)
    assert (found.rows, found.n, found.quantity) == ("test", len(run.data.test), "distortion_nats")
    assert "kept no calibration rows" in found.says
    np.testing.assert_allclose(run.calibration().of("distortion"), np.sort(run.score()), rtol=1e-6)


def test_scores_of_other_weights_are_computed_again_and_damage_is_named(run, tmp_path):
    other = nr.fit(X, "vae", tmp_path / "r", latent=2, steps=3, progress=False)
    (other.path / FILE).write_bytes((run.path / FILE).read_bytes())
    assert other.calibration().rows == "test"
    text = (other.path / FILE).read_text()
    (other.path / FILE).write_text(text.replace('"n": ', '"n": 1'))
    with pytest.raises(RequestError, match="is damaged: its checksum does not match"):
        other.calibration()


@pytest.mark.parametrize("kind", ["nll", "distortion", "rate", "typicality"])
def test_fresh_rows_are_flagged_at_most_at_the_level(run, kind):
    """For one calibration the share has a beta distribution; its upper tail is the limit."""
    found = run.detect(rows(2000, np.random.default_rng(5)), kind=kind, alpha=0.05)
    assert found.flag.mean() < 0.05 + 3 * np.sqrt(0.05 * 0.95 / found.n)
    np.testing.assert_array_equal(found.flag, found.p <= 0.05)


def test_at_most_alpha_over_1000_splits_of_the_rows_of_a_fixed_model(run):
    from narrows.audit.metrics.conformal import p_values

    rng = np.random.default_rng(1)
    scores, shares = run.score(rows(3000, rng)), []
    for _ in range(1000):
        drawn = rng.permutation(scores)[:400]
        shares.append((p_values(drawn[99:], drawn[:99]) <= 0.01).mean())
    assert np.mean(shares) <= 0.01 + 3 * np.std(shares) / np.sqrt(1000)


def test_anomalies_are_found(run):
    both = np.concatenate([rows(300, np.random.default_rng(3)), ODD])
    for how in ({"alpha": 0.02}, {"fdr": 0.1}, {"contamination": 0.02}):
        found = run.detect(both, **how)
        assert found.flag[300:].mean() > 0.9
        assert found.flag[:300].mean() < 0.08
    assert (run.detect(both, contamination=0.02).scores > found.threshold).tolist() == found.flag.tolist()


def test_given_rows_calibrate_without_a_file(run, tmp_path):
    fresh = rows(50)
    found = run.detect(ODD, alpha=0.05, calibration=fresh)
    assert (found.rows, found.n) == ("given", 50)
    assert run.calibration().rows == "kept"


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({}, "only level"),
        ({"alpha": 0.1, "fdr": 0.1}, "only level"),
        ({"alpha": 1.0}, "fraction"),
        ({"contamination": -0.5}, "fraction"),
        ({"alpha": 0.001}, "at least 999 calibration rows, and there are"),
        ({"fdr": 0.001}, "at least 999 calibration rows"),
        ({"alpha": 0.1, "kind": "entropy"}, "one of `nll`"),
    ],
)
def test_bad_requests(run, how, says):
    with pytest.raises(RequestError, match=says):
        run.detect(ODD, **how)


def test_a_kind_that_the_method_lacks(tmp_path):
    run = nr.fit(X, "ae", tmp_path / "r", latent=2, steps=2, progress=False)
    for kind in ("nll", "rate", "typicality"):
        with pytest.raises(RequestError, match="no posterior"):
            run.score(ODD, kind=kind)


@pytest.mark.parametrize("level", [0.0, 1.0, -1.0])
def test_a_part_of_the_training_rows_that_is_none(tmp_path, level):
    field = "bag" if level <= 0 else "calibration"
    with pytest.raises(RequestError, match=field):
        nr.fit(X, "ae", tmp_path / "r", steps=2, progress=False, training={field: level})
    assert not (tmp_path / "r").exists()


def test_a_column_that_is_constant_in_training_does_not_outweigh_the_others(tmp_path):
    """A change of 1e-4 in it is not a score of thousands."""
    x = np.concatenate([X, np.full((700, 1), 7.0)], 1)
    run = nr.fit(x, "vae", tmp_path / "r", latent=2, steps=200, progress=False)
    changed = x[:20].copy()
    changed[:, -1] += 1e-4
    assert np.abs(run.score(changed) - run.score(x[:20])).max() < 0.1


def test_fewer_rows_than_a_batch_and_generators_of_others_are_left_alone(tmp_path):
    import random

    import torch

    states = np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002
    run = nr.fit(X[:20], "vae", tmp_path / "r", latent=2, steps=20, progress=False)
    assert run.score(X[:3]).shape == (3,)
    assert run.detect(X[:3], alpha=0.5).flag.shape == (3,)
    assert (np.random.get_state()[1].tolist(), random.getstate()) == states  # noqa: NPY002
    before = torch.random.get_rng_state()
    run.detect(X[:3], alpha=0.5)
    assert torch.equal(before, torch.random.get_rng_state())
