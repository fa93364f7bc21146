"""What is typed of a training is heard, also where it is what is usual for other methods."""

import json

import pytest

from narrows.methods.structured import _graphs

USUAL = {"steps": 6, "lr": 0.01, "batch_size": 1, "clip": 2.0, "ema": 0.9, "measure_every": 3}


def fitted(cli, tmp_path, *words):
    out = tmp_path / "run"
    code, _, said = cli("fit", "sbm", "--method", "vgae", "--out", out, "--no-progress", *words)
    assert code == 0, said
    recipe, result = (json.loads((out / name).read_text()) for name in ("recipe.json", "result.json"))
    return recipe["training"], result.get("short", "")


@pytest.mark.parametrize(
    ("name", "typed", "kept"),
    [
        ("steps", 7, 7),
        ("epochs", 2, 2.0),
        ("batch-size", 128, 128),
        ("lr", "1e-3", 1e-3),
        ("clip", 1, 1.0),
        ("ema", 0.5, 0.5),
        ("measure-every", 0, 0),
    ],
)
def test_a_typed_option_wins_over_what_is_usual_for_the_method(cli, tmp_path, monkeypatch, name, typed, kept):
    monkeypatch.setattr(_graphs, "PUBLISHED", USUAL)
    training, _ = fitted(cli, tmp_path, f"--{name}", typed)
    assert training[name.replace("-", "_")] == kept
    for other in set(USUAL) - {name.replace("-", "_"), "steps"}:
        assert training[other] == USUAL[other]


def test_the_published_budget_of_one_graph_is_long_enough(cli, tmp_path):
    training, short = fitted(cli, tmp_path)
    assert (training["steps"], training["lr"]) == (200, 0.01)
    assert short == ""


def test_fewer_steps_than_published_are_said_to_be_few(cli, tmp_path):
    _, short = fitted(cli, tmp_path, "--steps", 20)
    assert "with neither, training makes 200 steps" in short
