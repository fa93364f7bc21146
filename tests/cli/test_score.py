"""`narrows score --estimator`: figures with their errors, and what is refused."""

import csv
import json

import numpy as np
import pytest

import narrows as nr
from narrows.cli.main import run as type_in


def test_it_prints_the_mean_and_writes_the_rows(cli, fitted, tmp_path):
    path = tmp_path / "rows.csv"
    code, out, _ = cli("score", fitted, "--estimator", "iwae", "--samples", 30, "--limit", 9, "--out", path)
    assert code == 0
    found = nr.load(fitted).likelihood(samples=30, limit=9)
    rows = list(csv.DictReader(path.read_text().splitlines()))
    np.testing.assert_array_equal([float(row["nll_nats"]) for row in rows], found.nll)
    assert out.startswith(f"-log p(x)   {found.nll.mean():.2f} ± ")
    assert "examples: 9" in out


def test_annealing_needs_no_file_and_answers_in_json(cli, fitted):
    words = [
        "score",
        fitted,
        "digits",
        "--estimator",
        "ais",
        "--temperatures",
        5,
        "--chains",
        2,
        "--limit",
        3,
    ]
    code, out, _ = cli(*words, "--simulated", "--json")
    facts = json.loads(out)
    assert code == 0
    assert facts["rows"] == 3
    assert facts["samples"] == 2
    assert facts["gap"] == pytest.approx(facts["nll_nats"] - facts["nll_lower_nats"])


def test_it_says_that_only_the_first_examples_were_scored(cli, fitted):
    _, _, err = cli("score", fitted, "--estimator", "ais", "--temperatures", 2, "--chains", 1)
    assert "first 100 of 359 examples" in err.replace("\n", " ")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("score {run} --estimator elbo", "`--estimator` must be"),
        ("score {run} --estimator iwae --chains 3", "--estimator ais"),
        ("score {run} --temperatures 3", "--estimator ais"),
        ("score {run} --estimator ais --samples 3", "--estimator iwae"),
        ("score {run}", "Missing DATA"),
        ("score {run} digits", "Missing --out"),
        ("score {sparse} --estimator iwae", "no likelihood"),
        ("score {run} --estimator iwae --labels y", "DATA"),
    ],
)
def test_bad_requests(refused, fitted, sparse, tmp_path, monkeypatch, words, says):
    monkeypatch.chdir(tmp_path)
    assert says in refused(*words.format(run=fitted, sparse=sparse).split())
    assert not list(tmp_path.iterdir())


def test_help_says_what_it_takes(capsys):
    assert type_in(["score", "--help"]) == 0
    assert "annealed importance sampling" in " ".join(capsys.readouterr().out.replace("│", " ").split())
