"""Texts from the user's own file, and back to the terminal."""

from __future__ import annotations

import json

import pytest

from narrows.cli.main import run
from narrows.cli.sampling import sampling_options


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    (folder / "lines.txt").write_text("\n".join(f"line {i} of {j}" for i in range(20) for j in range(5)))
    told = ["--method", "text-vae", "--steps", "3", "--latent", "2", "--rnn", "gru:width=8"]
    assert run(["fit", str(folder / "lines.txt"), *told, "--out", str(folder / "run")]) == 0
    return folder


def test_samples_are_printed_a_line_each(fitted, capsys):
    assert run(["sample", str(fitted / "run"), "-n", "4"]) == 0
    assert len(capsys.readouterr().out.split("\n")) == 5
    assert run(["sample", str(fitted / "run"), "-n", "3", "--out", str(fitted / "s.txt")]) == 0
    assert len((fitted / "s.txt").read_text().split("\n")) == 4


def test_texts_are_drawn_at_a_temperature(fitted, capsys, cli):
    def sampled(*told):
        assert run(["sample", str(fitted / "run"), "-n", "40", *told]) == 0
        return capsys.readouterr().out.splitlines()

    likeliest = sampled()
    assert sampled("--top-k", "1") == likeliest
    drawn = sampled("--draw")
    assert drawn != likeliest
    assert sampled("--temperature", "1") == drawn
    assert sampled("--temperature", "0.3") != drawn
    assert len(set(sampled("--temperature", "0.7", "--top-k", "5"))) > 10
    shown = {option.name for option in sampling_options([str(fitted / "run")]) if not option.hidden}
    assert shown == {"temperature", "top_k"}
    code, _, said = cli("sample", fitted / "run", "--guidance", "2")
    assert code == 2
    assert "It has `--temperature`, `--top-k`" in said


def test_reconstructions_stand_beside_their_texts(fitted, capsys):
    assert run(["reconstruct", str(fitted / "run")]) == 0
    assert all(line.startswith("line ") for line in capsys.readouterr().out.splitlines())
    assert run(["reconstruct", str(fitted / "run"), str(fitted / "lines.txt"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["originals"][:2] == ["line 0 of 0", "line 0 of 1"]
    assert len(found["texts"]) == 100


def test_texts_are_scored(fitted):
    out = fitted / "scores.csv"
    assert run(["score", str(fitted / "run"), str(fitted / "lines.txt"), "--out", str(out)]) == 0
    assert len(out.read_text().splitlines()) == 101


def test_a_picture_of_a_text_is_refused(fitted, capsys):
    assert run(["sample", str(fitted / "run"), "--out", str(fitted / "s.png")]) == 2
    assert ".txt" in capsys.readouterr().err
