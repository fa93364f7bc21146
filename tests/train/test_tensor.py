"""A dictionary cut over two processes trains as the whole one does in one process."""

import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

import narrows as nr
from narrows.core import Sparse
from narrows.core.check import RequestError
from narrows.kernels.parallel import SplitLinear, TensorShard, combine
from narrows.kernels.sparse import LazyLinear
from narrows.methods.index import builder
from narrows.train import Plan, read_metrics
from narrows.train.strategies.tensor_parallel import shard_model

RUN = """
import sys, json, narrows as nr
if __name__ == "__main__":
    what, folder, steps, options = sys.argv[1:]
    if what == "resume":
        nr.resume(folder, steps=int(steps), progress=False)
    else:
        nr.fit("digits", method="topk-sae", out=folder, steps=int(steps), batch_size=64, seed=1, progress=False,
               device="cpu", devices=2, training={"log_every": 1, "strategy": "tensor", "ema": 0.9},
               **json.loads(options))
"""


def run(what, folder, script, steps, options):
    command = [sys.executable, str(script), what, str(folder), str(steps), json.dumps(options)]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return read_metrics(folder)


@pytest.mark.slow
def test_two_processes_equal_one_also_after_a_resume(tmp_path):
    script = tmp_path / "run.py"
    script.write_text(RUN)
    options = {
        "latents": 64,
        "k": 4,
        "dead": "auxk:k=8,dead_after=100",
    }  # some are dead: the auxiliary term is on
    how = {"log_every": 1, "ema": 0.9}
    plan = {"steps": 14, "batch_size": 64, "seed": 1, "device": "cpu", "progress": False, "training": how}
    nr.fit("digits", "topk-sae", tmp_path / "one", **plan, **options)
    one = read_metrics(tmp_path / "one")
    run("fit", tmp_path / "two", script, 8, options)
    two = run("resume", tmp_path / "two", script, 14, options)
    ours = {r["step"]: r for r in two}
    assert any(r["autoencoder/auxk"] > 0 for r in one)
    for record in one:
        for name in ("autoencoder/loss", "autoencoder/auxk", "held_out/loss"):
            if name in record and name in ours[record["step"]]:
                assert record[name] == pytest.approx(ours[record["step"]][name], rel=1e-5, abs=1e-7)
    left, right = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    assert left.keys() == right.keys()
    for name, value in left.items():
        torch.testing.assert_close(value, right[name], rtol=1e-4, atol=2e-5)
    loaded = nr.load(tmp_path / "two")
    assert loaded.model.encoder.weight.shape == (64, 64)
    batch = loaded.data.test.batch(torch.arange(5))
    assert loaded.model.encode(batch).z.values.shape == (5, 4)


@pytest.fixture
def alone(tmp_path):
    """A process group of this process alone, so that the collectives can be called."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1
    )
    yield TensorShard(0, 1)
    torch.distributed.destroy_process_group()


def test_one_part_is_the_whole(alone):
    torch.manual_seed(0)
    x, weight, bias = (
        torch.randn(s, dtype=torch.double, requires_grad=True) for s in ((7, 5), (12, 5), (12,))
    )
    shift = torch.randn(5, dtype=torch.double, requires_grad=True)
    atoms = torch.randn(12, 5, dtype=torch.double, requires_grad=True)
    leaves = (x, weight, bias, shift, atoms)

    def loss(promise, sum_of):
        code = promise.top(3)
        few = promise.only(torch.tensor([2, 7, 11])).top(2)
        return sum_of(code).square().sum() + few.values.square().sum() + promise.dense().sin().sum()

    whole = loss(LazyLinear(x, weight, bias, shift), lambda code: code.dense() @ atoms)
    part = loss(
        SplitLinear.of(LazyLinear(x, weight, bias, shift), alone), lambda code: combine(code, atoms, alone)
    )
    torch.testing.assert_close(part, whole)
    wanted, got = (torch.autograd.grad(value, leaves) for value in (whole, part))
    for mine, theirs in zip(got, wanted, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_the_parts_of_a_sum(monkeypatch):
    """Each part's sum, by hand: all latents are summed once."""
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda total: None)
    atoms = torch.randn(12, 5)
    code = Sparse(torch.randint(12, (7, 3)), torch.randn(7, 3), 12)
    for z in (code, code.dense()):
        parts = [combine(z, TensorShard(rank, 3).part(atoms), TensorShard(rank, 3)) for rank in range(3)]
        torch.testing.assert_close(sum(parts), code.dense() @ atoms)


def test_what_cannot_be_cut_is_refused():
    with pytest.raises(RequestError, match=r"GaussianBottleneck|does not support it"):
        shard_model(builder("vae")((8,)), TensorShard(0, 2))
    with pytest.raises(RequestError, match=r"`latents=34`"):
        shard_model(builder("topk-sae")((8,), latents=33, k=2), TensorShard(0, 2))
    with pytest.raises(RequestError, match="`clip`"):
        Plan(strategy="tensor", clip=1.0)
