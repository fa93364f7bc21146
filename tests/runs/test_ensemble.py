"""A group of runs as one scorer."""

import numpy as np
import pytest

import narrows as nr
from narrows.cli.main import run as type_in
from narrows.core.check import RequestError
from narrows.runs.ensemble import load_group
from narrows.train import Plan, validation_part

RNG = np.random.default_rng(0)
X = RNG.normal(size=(400, 2)) @ RNG.normal(size=(2, 5)) + 0.2 * RNG.normal(size=(400, 5))


@pytest.fixture(scope="module")
def group(tmp_path_factory):
    folder = tmp_path_factory.mktemp("groups")
    np.save(folder / "x.npy", X)
    how = {"seeds": 3, "latent": 2, "steps": 30, "progress": False}
    nr.fit(folder / "x.npy", "vae", folder / "g", **how, training={"bag": 0.5, "calibration": 0.1})
    return folder / "g"


def test_each_run_has_rows_of_its_own_and_all_the_same_calibration_rows(group):
    runs = load_group(group).members
    parts = [validation_part(run.data.train, Plan.from_json(dict(run.recipe.training)))[0] for run in runs]
    left = len(runs[0].data.train) - len(runs[0].calibration())
    assert [len(part) for part in parts] == [round(0.5 * left)] * 3
    stored = [{row.tobytes() for row in part.x.numpy()} for part in parts]
    assert stored[0] != stored[1] != stored[2] != stored[0]
    from narrows.runs.verbs.calibration import own_rows

    kept = {row.tobytes() for row in own_rows(runs[0])[0].x.numpy()}
    assert not kept & (stored[0] | stored[1] | stored[2])


def test_scores_are_means_over_the_runs(group):
    ensemble = load_group(group)
    direct = np.mean([run.score(X[:9]) for run in ensemble.members], 0)
    np.testing.assert_allclose(ensemble.score(X[:9]), direct, rtol=1e-5)
    known = ensemble.calibration()
    assert known.rows == "kept"
    assert (group / "calibration.json").is_file()
    assert ensemble.detect(X[:9], alpha=0.2, explain="fast").columns()["why_1"].shape == (9,)


def test_the_command_takes_the_folder(group, tmp_path):
    words = ["score", group, group.parent / "x.npy", "--alpha", ".1", "--out", tmp_path / "s.npz"]
    assert type_in([str(word) for word in words]) == 0
    np.testing.assert_allclose(np.load(tmp_path / "s.npz")["nll_nats"], load_group(group).score(X), rtol=1e-5)


def test_bad_requests(group, tmp_path):
    with pytest.raises(RequestError, match="not a group"):
        load_group(tmp_path)
    nr.sweep(group.parent / "x.npy", "vae", {"latent": [1, 2]}, out=tmp_path / "s", steps=2, progress=False)
    with pytest.raises(RequestError, match="more than the seed"):
        load_group(tmp_path / "s")
