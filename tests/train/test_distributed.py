"""Two processes on half a batch each give the losses of one process on the whole batch."""

import json
import os
import subprocess
import sys

import pytest

from narrows.train import read_metrics

FIT = """
import sys, json, narrows as nr
if __name__ == "__main__":
    nr.fit("digits", method=sys.argv[2], out=sys.argv[1], steps=12, batch_size=64, seed=1, progress=False,
           device="cpu", devices=int(sys.argv[3]), training={"log_every": 1, "ema": 0.8}, **json.loads(sys.argv[4]))
"""


def run(folder, script, method, devices, options):
    command = [sys.executable, str(script), str(folder), method, str(devices), json.dumps(options)]
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
        ("vq-vae", {"codes": 8, "prior": "ar:width=16,depth=1"}),
    ],
)
def test_two_processes_equal_one(tmp_path, method, options):
    script = tmp_path / "fit.py"
    script.write_text(FIT)
    one = run(tmp_path / "one", script, method, 1, options)
    two = run(tmp_path / "two", script, method, 2, options)
    assert len(one) == len(two) >= 12
    for a, b in zip(one, two, strict=True):
        assert a[f"{a['stage']}/loss"] == pytest.approx(b[f"{a['stage']}/loss"], rel=2e-4)
        assert a.get("held_out/loss", 0) == pytest.approx(b.get("held_out/loss", 0), rel=2e-4)
    first = [record["autoencoder/loss"] for record in one if record["stage"] == "autoencoder"]
    assert first[-1] < first[0]
