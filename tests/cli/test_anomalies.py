"""`narrows score` with a level: from a file of rows to flags."""

import csv
import json

import numpy as np
import pytest

RNG = np.random.default_rng(0)
LOADINGS = RNG.normal(size=(2, 5))


def write(path, x):
    with path.open("w") as file:
        table = csv.writer(file)
        table.writerow("abcde")
        table.writerows(x.tolist())
    return path


def rows(n):
    return RNG.normal(size=(n, 2)) @ LOADINGS + 0.2 * RNG.normal(size=(n, 5))


@pytest.fixture(scope="module")
def table_run(tmp_path_factory):
    from narrows.cli.main import run

    folder = tmp_path_factory.mktemp("anomalies")
    train = write(folder / "train.csv", rows(900))
    words = ["fit", train, "--method", "vae", "--latent", "2", "--steps", "300", "--no-progress"]
    assert run([str(w) for w in (*words, "--calibration", ".2", "--out", folder / "t")]) == 0
    return folder / "t"


def read(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_fresh_normals_are_flagged_at_most_at_the_level_and_anomalies_are(cli, table_run, tmp_path):
    new = write(tmp_path / "new.csv", np.concatenate([rows(1000), 4 * RNG.normal(size=(10, 5))]))
    code, out, err = cli("score", table_run, new, "--alpha", ".02", "--out", tmp_path / "s.csv")
    assert (code, out) == (0, "")
    assert "calibration rows, which the run kept from training" in " ".join(err.split())
    found = read(tmp_path / "s.csv")
    assert list(found[0]) == ["row", "nll_nats", "p_value", "flag"]
    flags = np.array([int(row["flag"]) for row in found])
    assert flags[:1000].mean() < 0.02 + 3 * np.sqrt(0.02 * 0.98 / 130)
    assert flags[1000:].mean() > 0.8


def test_the_columns_name_kind_and_unit(cli, table_run, tmp_path):
    new = write(tmp_path / "new.csv", rows(30))
    for kind in ("nll", "distortion", "rate", "typicality"):
        path = tmp_path / f"{kind}.csv"
        code, out, _ = cli("score", table_run, new, "--kind", kind, "--fdr", ".1", "--out", path, "--json")
        assert code == 0
        assert json.loads(out)["holds"] == [f"{kind}_nats", "p_value", "q_value", "flag"]
        assert list(read(path)[0])[1] == f"{kind}_nats"


def test_the_columns_that_make_a_row_odd_are_named(cli, table_run, tmp_path):
    x = rows(20)
    x[7, 3] += 5
    new = write(tmp_path / "new.csv", x)
    for level in ([], ["--alpha", ".02"]):
        path = tmp_path / f"s{len(level)}.csv"
        assert cli("score", table_run, new, *level, "--explain", "fast", "--out", path)[0] == 0
        found = read(path)
        assert list(found[0])[-6:] == [f"why_{k}{end}" for k in (1, 2, 3) for end in ("", "_nats")]
        assert found[7]["why_1"] == "d"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--alpha 2", "`--alpha` must be a fraction"),
        ("--alpha .0001", "--alpha 0.0001` needs at least 9,999 calibration rows"),
        ("--alpha .1 --contamination .1", "the only level"),
        ("--alpha .1 --samples 3", "those of the calibration"),
        ("--explain exact", "reads complete rows"),
        ("--explain slow", "one of `fast`"),
        ("--kind rates", "`--kind` must be one of"),
        ("--estimator iwae --alpha .1", "left out with --estimator"),
    ],
)
def test_bad_requests(refused, table_run, tmp_path, words, says):
    new, out = write(tmp_path / "new.csv", rows(5)), tmp_path / "s.csv"
    assert says in refused("score", table_run, new, "--out", out, *words.split())
    assert not out.exists()
