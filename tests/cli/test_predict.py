"""`predict`: classes and probabilities of data, with or without labels."""

import csv

import numpy as np
import pytest
import torch

import narrows as nr
from narrows.cli.main import run
from narrows.data import like


@pytest.fixture(scope="module")
def predictor(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "vib"
    options = ("--net", "mlp:32", "--steps", "30", "--no-progress")
    assert run(["fit", "digits", "--method", "vib", "--out", str(path), *options]) == 0
    return path


def test_a_table_has_the_class_and_all_probabilities(cli, predictor, tmp_path):
    path = tmp_path / "p.csv"
    assert cli("predict", predictor, "digits", "--limit", 20, "--out", path)[:2] == (0, "")
    rows = list(csv.DictReader(path.read_text().splitlines()))
    opened = nr.load(predictor)
    batch = like(opened.recipe.data, "digits", limit=20).all()
    with torch.no_grad():
        expected = opened.model.decode(opened.model.encode(batch).mean).softmax(-1).numpy()
    names = opened.data.test.class_names
    found = np.array([[float(row[f"probability/{name}"]) for name in names] for row in rows])
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert [row["class"] for row in rows] == [names[i] for i in expected.argmax(1)]


def test_data_need_no_labels(predictor):
    opened = nr.load(predictor)
    x = np.random.default_rng(0).uniform(0, 16, (5, 8, 8)).astype(np.float32)
    assert len(opened.predict(x, draws=3)["class"]) == 5
    assert set(opened.encode(x)) == {"z", "mean", "scale", "features"}


def test_the_score_is_the_log_probability_of_the_label(predictor):
    opened = nr.load(predictor)
    some = opened.data.test.take(40)
    p = opened.predict(some, draws=400)
    exact = [-np.log(p[f"probability/{some.class_names[y]}"][i]) for i, y in enumerate(some.labels.tolist())]
    assert np.abs(opened.score(some, samples=400) - exact).max() < 0.2


@pytest.mark.parametrize(
    "words",
    [("reconstruct", "digits"), ("interpolate", "digits"), ("score", "digits", "--estimator", "iwae")],
)
def test_what_decodes_examples_is_refused(refused, predictor, tmp_path, words):
    name = "x.csv" if words[0] == "score" else "x.npz"
    assert "Use: narrows predict" in refused(words[0], predictor, *words[1:], "--out", tmp_path / name)


def test_other_methods_predict_nothing(refused, fitted, tmp_path):
    assert "Fit `vib` or `dkvb`" in refused("predict", fitted, "digits", "--out", tmp_path / "x.csv")


def test_a_code_is_not_decoded_to_an_example(cli, refused, predictor, tmp_path):
    codes = tmp_path / "codes.npz"
    assert cli("encode", predictor, "digits", "--limit", 5, "--out", codes)[0] == 0
    assert "Use: narrows predict" in refused("decode", predictor, codes, "--out", tmp_path / "x.npz")
