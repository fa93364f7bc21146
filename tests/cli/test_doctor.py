"""`narrows doctor`: of a run, and of a factory in the current folder."""

import json
import sys

import pytest

FACTORIES = """
import torch
from narrows.bottlenecks.discrete.vq import VectorQuantizer

def healthy():
    return VectorQuantizer(4, codes=16, tokens=64)

def without_restarts():
    return VectorQuantizer(4, codes=16, tokens=64, codebook="ema:restart=0")

def text():
    return "a quantiser"
"""


@pytest.fixture
def factories(tmp_path, monkeypatch):
    (tmp_path / "my_quantisers.py").write_text(FACTORIES)
    monkeypatch.chdir(tmp_path)
    yield "my_quantisers"
    sys.modules.pop("my_quantisers", None)


def test_a_run(cli, tmp_path):
    run = tmp_path / "run"
    cli("fit", "digits", "--method", "vq-vae", "--codes", 16, "--prior", "none", "--steps", 4, "--out", run)
    code, out, _ = cli("doctor", run, "--json")
    found = json.loads(out)
    assert (code, found["failed"]) == (0, 0)
    assert {"round-trip", "ema/two-processes"} <= {one["name"] for one in found["checks"]}


def test_a_factory(cli, factories):
    code, out, _ = cli("doctor", f"{factories}:healthy")
    assert code == 0
    assert "10 of 10 as expected" in out
    code, out, _ = cli("doctor", f"{factories}:without_restarts")
    assert code == 1
    assert "9 of 10 as expected" in out
    assert "bad  restart" in out


def test_refusals(refused, factories, fitted):
    assert "not a run" in refused("doctor", "nowhere")
    assert "no attribute" in refused("doctor", f"{factories}:missing")
    assert "No module named" in refused("doctor", "nothing:make")
    assert "not str" in refused("doctor", f"{factories}:text")
    assert "whose bottleneck is one" in refused("doctor", fitted)
