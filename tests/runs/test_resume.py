"""A run that is killed and resumed ends in the same bits as one that was never interrupted."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file

import narrows as nr
from narrows.core.check import RequestError
from narrows.train import read_metrics

FIT = """
import sys, narrows as nr
nr.fit("digits", method=sys.argv[2], out=sys.argv[1], steps=int(sys.argv[3]), seed=3, progress=False,
       training={"log_every": 7, "checkpoint_seconds": 0}, **eval(sys.argv[4]))
"""


def finish(folder, method, steps, options):
    nr.fit(
        "digits",
        method=method,
        out=folder,
        steps=steps,
        seed=3,
        progress=False,
        training={"log_every": 7, "checkpoint_seconds": 0},
        **options,
    )


def same_weights(a, b):
    left, right = load_file(a / "model.safetensors"), load_file(b / "model.safetensors")
    assert left.keys() == right.keys()
    return all(torch.equal(left[k], right[k]) for k in left)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "options", "steps"),
    [
        ("vae", {"latent": 4, "net": "mlp:32"}, 400),
        ("vq-vae", {"codes": 16}, 60),
        ("wae", {"latent": 4, "penalty": "gan"}, 300),
        ("topk-sae", {"latents": 64, "k": 4}, 400),
    ],
)
def test_killed_and_resumed_equals_uninterrupted(tmp_path, method, options, steps):
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    command = [sys.executable, "-c", FIT, str(killed), method, str(steps), repr(options)]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONWARNINGS": "ignore"})
    deadline = time.monotonic() + 120
    while len(read_metrics(killed)) < 3:  # some checkpoints are there: kill it at a moment nobody chose
        assert process.poll() is None, "the fit ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (killed / "model.safetensors").exists()
    nr.resume(killed, progress=False)
    finish(whole, method, steps, options)
    assert same_weights(killed, whole)
    assert read_metrics(killed) == read_metrics(whole)


def test_a_damaged_checkpoint_is_passed_over_and_said(tmp_path, capsys):
    damaged, whole = tmp_path / "damaged", tmp_path / "whole"
    for folder in (damaged, whole):
        finish(folder, "vae", 60, {"latent": 2, "net": "mlp:16"})
    for name in ("model.safetensors", "result.json"):
        (damaged / name).unlink()
    last = sorted((damaged / "state").glob("*.safetensors"))[-1]
    content = bytearray(last.read_bytes())
    content[-3] ^= 1
    last.write_bytes(content)
    nr.resume(damaged)
    said = capsys.readouterr().err
    assert last.stem in said
    assert "damaged" in said
    assert same_weights(damaged, whole)
    assert read_metrics(damaged) == read_metrics(whole)


def test_only_damaged_checkpoints_is_refused(tmp_path):
    run = tmp_path / "run"
    finish(run, "vae", 20, {"latent": 2, "net": "mlp:16"})
    (run / "result.json").unlink()
    for data in (run / "state").glob("*.safetensors"):
        data.write_bytes(b"short")
    with pytest.raises(RequestError, match="Every checkpoint of"):
        nr.resume(run, progress=False)


def test_a_finished_run_is_left_alone_unless_more_is_asked_for(tmp_path):
    short, long = tmp_path / "short", tmp_path / "long"
    finish(short, "vae", 40, {"latent": 2, "net": "mlp:16"})
    before = (short / "model.safetensors").read_bytes()
    nr.resume(short, progress=False)
    assert (short / "model.safetensors").read_bytes() == before
    nr.resume(short, steps=80, progress=False)
    finish(long, "vae", 80, {"latent": 2, "net": "mlp:16"})
    assert same_weights(short, long)
    assert json.loads((short / "recipe.json").read_text())["training"]["steps"] == 80


def test_a_torn_last_line_of_metrics_is_dropped(tmp_path):
    run = tmp_path / "run"
    finish(run, "vae", 21, {"latent": 2, "net": "mlp:16"})
    records = read_metrics(run)
    with (run / "metrics.jsonl").open("a") as stream:
        stream.write('{"at": 28, "stage"')
    assert read_metrics(run) == records
