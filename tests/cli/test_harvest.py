"""`narrows harvest` as it is typed."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file

from narrows.cli import harvest as module
from narrows.runs.harvesting import driver

transformers = pytest.importorskip("transformers")

from narrows.activations.models import quietly  # noqa: E402
from narrows.testing import tiny_lm  # noqa: E402

SIZES = {"width": 16, "layers": 2, "heads": 2, "context": 16, "vocabulary": 280, "batch_size": 2, "steps": 2}


@pytest.fixture(scope="module")
def lm(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setenv("NARROWS_CACHE", str(tmp_path_factory.mktemp("cache")))
    yield tiny_lm(["A boat went out at dawn, and the lamps were lit. " * 9], **SIZES)
    patch.undo()


@pytest.fixture
def words(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("A boat went out at dawn, and the lamps were lit. " * 30)
    return path


def test_a_harvest(cli, lm, words, tmp_path):
    out = tmp_path / "acts"
    typed = (
        "harvest",
        lm,
        "--text",
        words,
        "--at",
        "resid.*",
        "--at",
        "mlp.0,attn.1",
        "--out",
        out,
        "--tokens",
        300,
    )
    code, said, told = cli(*typed, "--context", 16, "--device", "cpu", "--no-progress")
    assert (code, said) == (0, "")
    assert f"{out} holds 300 rows of resid.0, resid.1, mlp.0, attn.1. Next: narrows fit {out}" in told
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["complete"]
    assert manifest["header"]["contexts"]["length"] == 16
    assert manifest["layers"]["attn.1"]["count"] == 300


def test_every_option_arrives(cli, lm, words, tmp_path, monkeypatch):
    got = {}
    monkeypatch.setattr(driver, "_run", lambda job, shown: got.update(job=job) or None)
    typed = ["harvest", lm, "--text", words, "--at", "resid.0", "--out", tmp_path / "a", "--context", 12]
    typed += [
        "--mode",
        "documents",
        "--overlong",
        "truncate",
        "--special",
        "keep",
        "--positions",
        "2:",
        "--bos",
    ]
    typed += ["--split", "line", "--gradients", "--dtype", "bfloat16", "--model-dtype", "bfloat16"]
    cli(*typed, "--batch-size", 3, "--shard", 6, "--device", "cpu", "--no-progress")
    job = got["job"]
    options = job.work.contexts.options
    assert (options.mode, options.length, options.overlong, options.special) == (
        "documents",
        12,
        "truncate",
        "keep",
    )
    assert (options.positions, options.bos) == ("2:", True)
    assert (job.plan.unit, job.plan.batch, job.plan.gradients, job.plan.dtype) == (6, 3, True, "bfloat16")
    assert job.model.dtype == "bfloat16"


def test_on_the_fly(cli, lm, words, tmp_path):
    typed = (
        "harvest",
        lm,
        "--text",
        words,
        "--at",
        "resid.0",
        "--out",
        tmp_path / "a",
        "--on-the-fly",
        "--no-progress",
    )
    code, _, told = cli(*typed, "--device", "cpu")
    assert code == 0
    assert "computed when they are read" in told
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == [
        "contexts.safetensors",
        "header.json",
        "manifest.json",
    ]


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        (("--text", "bundled", "--out", "a"), "--at resid.3"),
        (("--text", "bundled", "--at", "resid.0"), "--out ACTS"),
        (("--at", "resid.0", "--out", "a"), "--text bundled"),
        (("--text", "bundled", "--at", "resd.0", "--out", "a"), "Did you mean `resid.0`"),
        (("--text", "nothing.txt", "--at", "resid.0", "--out", "a"), "There is no text 'nothing.txt'"),
        (("--text", "bundled", "--at", "resid.0", "--out", "a", "--positions", "x"), "`--positions`"),
        (("--text", "bundled", "--at", "resid.0", "--out", "a", "--context", "99"), "at most 16"),
    ],
)
def test_bad_requests(refused, lm, tmp_path, monkeypatch, typed, says):
    monkeypatch.chdir(tmp_path)
    assert says in refused("harvest", lm, "--device", "cpu", *typed)
    assert not (tmp_path / "a").exists()


def test_a_model_without_a_tokenizer(refused, tmp_path):
    sizes = {"n_embd": 8, "n_layer": 1, "n_head": 2, "vocab_size": 9, "bos_token_id": 0, "eos_token_id": 0}
    with quietly():
        transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes)).save_pretrained(tmp_path / "gpt2")
    said = refused(
        "harvest", tmp_path / "gpt2", "--text", "bundled", "--at", "resid.0", "--out", tmp_path / "a"
    )
    assert "gpt2 has no tokenizer" in said


def test_interrupted(cli, lm, words, tmp_path, monkeypatch):
    def stop(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(driver, "compute", stop)
    code, _, told = cli(
        "harvest", lm, "--text", words, "--at", "resid.0", "--out", tmp_path / "a", "--no-progress"
    )
    assert code == 130
    assert "run the same command to continue" in told


def test_help_needs_no_torch():
    asks = "import sys; from narrows.cli.main import run; run(['harvest', '--help']); sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", asks], capture_output=True, text=True)
    assert done.returncode == 0
    assert "--on-the-fly" in done.stdout
    assert module.harvest.__doc__ is not None


def test_killed_in_the_middle_it_goes_on_to_the_same_bits(cli, lm, words, tmp_path):
    typed = [
        "harvest",
        lm,
        "--text",
        words,
        "--at",
        "resid.*",
        "--context",
        "16",
        "--device",
        "cpu",
        "--no-progress",
    ]
    typed = [str(word) for word in [*typed, "--shard", "1", "--batch-size", "1", "--out"]]
    out = tmp_path / "killed"
    process = subprocess.Popen([sys.executable, "-m", "narrows", *typed, str(out)], stderr=subprocess.DEVNULL)
    while process.poll() is None and not list(out.glob("shard-*.json")):
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    there = {path.name: path.stat().st_mtime_ns for path in out.glob("shard-*.safetensors")}
    assert there
    assert not (out / "manifest.json").exists() or process.returncode == 0
    assert cli(*typed, out)[0] == 0
    assert cli(*typed, tmp_path / "whole")[0] == 0
    shards = sorted((tmp_path / "whole").glob("shard-*.safetensors"))
    assert len(shards) > len(there) or process.returncode == 0
    for path in shards:
        assert (out / path.name).read_bytes() == path.read_bytes()
    kept = [name for name, at in there.items() if (out / name).stat().st_mtime_ns == at]
    assert len(kept) >= len(there) - 1  # the last one may have been half said
    assert (out / "manifest.json").read_bytes() == (tmp_path / "whole" / "manifest.json").read_bytes()
    assert not [p for p in out.iterdir() if p.name.startswith(".")]
    assert torch.isfinite(load_file(shards[0])["resid.1"]).all()
