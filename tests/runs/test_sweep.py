"""A sweep trains each model as it would be trained alone, on batches that are read once."""

import json
import math

import pytest
import torch
from safetensors.torch import load_file

import narrows as nr
from narrows.core.check import RequestError, WorkError
from narrows.core.progress import Silent
from narrows.data.batches import BatchReader
from narrows.data.dataset import Dataset
from narrows.runs.sweep import results, sweep

HOW = {
    "steps": 40,
    "batch_size": 64,
    "progress": False,
    "training": {"log_every": 5, "checkpoint_seconds": 0},
}


def weights(folder):
    return load_file(folder / "model.safetensors")


def same(a, b):
    left, right = weights(a), weights(b)
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


def test_each_run_ends_in_the_bits_it_would_have_alone(tmp_path):
    over = {"method": ["topk-sae", "vae"], "seed": [0, 5]}
    runs = sweep("digits", over=over, out=tmp_path / "all", page=False, **HOW)
    assert [run.path.name for run in runs] == [
        f"{method}_seed={seed}" for method in ("topk-sae", "vae") for seed in (0, 5)
    ]
    for run in runs[1:3]:  # the other seed, and the method that draws noise
        training = {**HOW["training"], "order_seed": 0}
        alone = nr.fit(
            "digits",
            method=run.method,
            out=tmp_path / run.path.name,
            seed=run.recipe.training["seed"],
            **{**HOW, "training": training},
        )
        assert same(run.path, alone.path)
        assert run.metrics == alone.metrics
        assert run.recipe == alone.recipe


def test_a_batch_is_read_once_for_all(tmp_path, monkeypatch):
    read = []
    at = BatchReader.at
    monkeypatch.setattr(BatchReader, "at", lambda self, step: read.append(step) or at(self, step))
    sweep("digits", "topk-sae", {"k": [2, 4, 8]}, tmp_path, page=False, latents=64, **HOW)
    assert read == list(range(40))


def test_other_data_options_are_another_stream(tmp_path):
    runs = sweep("digits", "ae", {"scale": ["unit", "standard"]}, tmp_path, page=False, latent=2, **HOW)
    assert runs[0].data.train.scaling.describe() != runs[1].data.train.scaling.describe()
    assert [run.recipe.data["scale"] for run in runs] == ["unit", "standard"]


class Stops(Silent):
    """Interrupts, as Ctrl-C does, once so many steps are made in all."""

    def __init__(self, at):
        self.stop = at

    def advance(self, done, facts=None):
        if done >= self.stop:
            raise KeyboardInterrupt


def test_an_interrupted_sweep_goes_on_to_the_same_bits(tmp_path):
    ask = {"over": {"k": [2, 4]}, "latents": 64, "page": False}
    sweep("digits", "topk-sae", out=tmp_path / "whole", **ask, **HOW)
    with pytest.raises(KeyboardInterrupt):
        sweep("digits", "topk-sae", out=tmp_path / "cut", **ask, **{**HOW, "progress": Stops(40)})
    folder = tmp_path / "cut" / "k=4"
    assert not (folder / "result.json").exists()
    nr.resume(folder, progress=False)  # one of them by itself
    assert same(folder, tmp_path / "whole" / "k=4")
    runs = sweep("digits", "topk-sae", out=tmp_path / "cut", **ask, **HOW)
    assert len(runs) == 2
    assert same(tmp_path / "cut" / "k=2", tmp_path / "whole" / "k=2")


def test_a_run_that_fails_leaves_the_others(tmp_path):
    how = {**HOW, "steps": 200}
    with pytest.raises(WorkError, match=r"1 of 2 runs .* failed.*\n?lr=1e\+30: Training"):
        sweep("digits", "ae", {"lr": [1e-3, 1e30]}, tmp_path, page=False, latent=2, **how)
    assert json.loads((tmp_path / "lr=0.001" / "result.json").read_text())["steps"] == 200


def test_the_page_and_the_figures(tmp_path):
    runs = sweep("digits", "topk-sae", {"k": [1, 8]}, tmp_path, latents=64, **HOW)
    assert "topk-sae, k 8" in (tmp_path / "compare.html").read_text()
    rows = results(runs)
    assert [row["run"] for row in rows] == ["k=1", "k=8"]
    assert rows[1]["loss"] < rows[0]["loss"]
    assert all(math.isfinite(row["loss"]) for row in rows)


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        ({"method": "topk-sae"}, "`over`"),
        ({"over": {"k": [1, 2]}}, "No method is given"),
        ({"method": "topk-sae", "over": {"k": 3}}, "a list of one or more values"),
        ({"method": "topk-sae", "over": {"k": [3, 3]}}, "distinct values"),
        ({"method": "topk-sae", "over": {"k": [1, 2]}, "k": 3}, "not also given for all"),
        ({"method": "topk-sae", "over": {"sede": [1, 2]}}, "sede"),
        ({"method": "topk-sae", "over": {"k": [1, 2]}, "training": {"devices": 2}}, "one device"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path, ask, says):
    with pytest.raises(RequestError, match=says):
        sweep("digits", out=tmp_path / "out", steps=1, progress=False, **ask)
    assert not list(tmp_path.glob("out/*/model.safetensors"))


def test_another_sweep_in_the_folder_is_refused(tmp_path):
    sweep("digits", "topk-sae", {"k": [1, 2]}, tmp_path, page=False, latents=32, steps=1, progress=False)
    with pytest.raises(RequestError, match="holds another sweep"):
        sweep("digits", "topk-sae", {"k": [1, 3]}, tmp_path, page=False, latents=32, steps=1, progress=False)


def test_the_command(tmp_path, capsys):
    from narrows.cli.main import run

    words = [
        "sweep",
        "digits",
        "--method",
        "topk-sae",
        "--over",
        "k=2,4",
        "--over",
        "seed=0,1",
        "--latents",
        "32",
    ]
    assert run([*words, "--steps", "3", "--out", str(tmp_path / "runs"), "--no-page", "--no-progress"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [
        "run",
        "k=2_seed=0",
        "k=2_seed=1",
        "k=4_seed=0",
        "k=4_seed=1",
    ]
    assert run([*words, "--steps", "3", "--out", str(tmp_path / "runs"), "--over", "seed=2"]) == 2
    more = [
        "--steps",
        "3",
        "--patience",
        "2",
        "--out",
        str(tmp_path / "patient"),
        "--no-page",
        "--no-progress",
    ]
    assert run([*words, *more]) == 0
    assert nr.load(tmp_path / "patient" / "k=2_seed=0").recipe.training["patience"] == 2


def test_a_dataset_is_moved_once(tmp_path, monkeypatch):
    moved = []
    to = Dataset.to
    monkeypatch.setattr(Dataset, "to", lambda self, device: moved.append(device) or to(self, device))
    sweep("digits", "topk-sae", {"k": [2, 4, 8]}, tmp_path, page=False, latents=32, **{**HOW, "steps": 2})
    assert len(moved) == 1
