"""Two processes on half a batch each give the losses of one process on the whole batch."""

import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

import narrows as nr
from narrows.train import read_metrics

FIT = """
import sys, json, narrows as nr
if __name__ == "__main__":
    nr.fit("digits", method=sys.argv[2], out=sys.argv[1], steps=12, batch_size=64, seed=1, progress=False,
           device="cpu", devices=2, training={"log_every": 1, "ema": 0.8}, **json.loads(sys.argv[3]))
"""


SECOND = """
import sys, math, torch, narrows as nr
from narrows.core import Symbols
from narrows.priors.flow_matching import FlowMatching
from narrows.priors.maskgit import MaskGIT

class Flow(FlowMatching):
    '''Times and noise are functions of an example's code, so that they are the same in any process.'''
    def times_and_noise(self, z):
        return (97 * z.sum(-1)).sin() / 2 + 0.5, (1000 * z).sin() * math.sqrt(2)

class Masks(MaskGIT):
    '''Which places are masked is a function of an example's indices.'''
    def masks(self, indices):
        keys = (indices * 31 + torch.arange(self.tokens) * 17) % 101
        return keys < 20 + indices.sum(-1, keepdim=True) % 60

if __name__ == "__main__":
    base, out, prior, devices = nr.load(sys.argv[1]), *sys.argv[2:]
    symbols = base.model.symbols_of(base.data.train.all(2))
    small = {"width": 16, "depth": 1, "heads": 2}
    torch.manual_seed(5)
    made = Flow(symbols, draws=False, **small) if prior == "flow-matching" else Masks(symbols, **small)
    nr.fit(base, prior=made, out=out, steps=30, batch_size=64, seed=1, progress=False, device="cpu", lr=3e-3,
           devices=int(devices), training={"log_every": 1, "ema": 0.8})
"""


def run(folder, script, *arguments):
    command = [sys.executable, str(script), *map(str, arguments)]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return read_metrics(folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("ae", {"latent": 4, "net": "mlp:32"}),
        ("topk-sae", {"latents": 64, "k": 4}),
        ("vq-vae", {"codes": 8, "prior": "ar:width=16,depth=1,labels=no"}),
    ],
)
def test_two_processes_equal_one(tmp_path, method, options):
    script = tmp_path / "fit.py"
    script.write_text(FIT)
    how = {"log_every": 1, "ema": 0.8}
    plan = {"steps": 12, "batch_size": 64, "seed": 1, "device": "cpu", "progress": False, "training": how}
    nr.fit("digits", method, tmp_path / "one", **plan, **options)
    one = read_metrics(tmp_path / "one")
    two = run(tmp_path / "two", script, tmp_path / "two", method, json.dumps(options))
    assert len(one) == len(two) >= 12
    for a, b in zip(one, two, strict=True):
        assert a[f"{a['stage']}/loss"] == pytest.approx(b[f"{a['stage']}/loss"], rel=2e-4)
        assert a.get("held_out/loss", 0) == pytest.approx(b.get("held_out/loss", 0), rel=2e-4)
    first = [record["autoencoder/loss"] for record in one if record["stage"] == "autoencoder"]
    assert first[-1] < first[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("prior", "zero", "method", "options"),
    [
        ("flow-matching", "net.out.bias", "vae", {"latent": 4, "net": "mlp:16"}),
        ("maskgit", "head.bias", "vq-vae", {"codes": 8, "width": 4, "prior": "none"}),
    ],
)
def test_a_second_stage_in_two_processes_equals_one(tmp_path, prior, zero, method, options):
    nr.fit("digits", method, tmp_path / "base", steps=20, progress=False, device="cpu", **options)
    script = tmp_path / "second.py"
    script.write_text(SECOND)
    one, two = tmp_path / "one", tmp_path / "two"
    losses = [
        [record["prior/loss"] for record in run(folder, script, tmp_path / "base", folder, prior, devices)]
        for folder, devices in ((one, 1), (two, 2))
    ]
    assert len(losses[0]) == len(losses[1]) == 30
    assert losses[0] == pytest.approx(losses[1], rel=2e-4)
    weights = [load_file(folder / "model.safetensors") for folder in (one, two)]
    for name, value in weights[0].items():
        torch.testing.assert_close(value, weights[1][name], rtol=1e-3, atol=1e-4, msg=name)
    assert weights[0][f"prior.{zero}"].abs().max() > 1e-3, "nothing was trained"
