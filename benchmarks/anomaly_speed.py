"""Processor time of scoring the rows of a table: ours beside pyod's VAE, interleaved.

    OMP_NUM_THREADS=1 python -m benchmarks anomaly_speed --peers PYTHON [--rows 4096] [--rounds 5]

`PYTHON` is the interpreter of an environment with pyod. Both are trained on adbench-thyroid (6 columns). Ours draws
16 codes of each row for -log p(x), the default, 64 or one; pyod's VAE draws one.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

import narrows.data as nd
from benchmarks.anomaly import Peer, PeerDetector, split
from narrows.audit.evidence.scores import score_terms
from narrows.data.named.reading import arrays
from narrows.data.named.registry import expand
from narrows.methods.variational.vae import vae
from narrows.train import optimise

PEER = "pyod's VAE, 1 code"
CODES = {"nll, 16 codes": 16, "nll, 64 codes": 64, "nll, 1 code": 1}


@contextmanager
def peer(python: Path, train: np.ndarray, test: np.ndarray) -> Iterator[Callable[[], float]]:
    """A process with pyod's VAE, asked for the seconds of one scoring of the test rows."""
    process = Peer(python)
    PeerDetector(process, "VAE", 50)(train, test, 0)
    yield process.ask
    process.close()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peers", type=Path, required=True, help="interpreter of an environment with pyod")
    parser.add_argument("--rows", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    row = expand("adbench-thyroid")
    x, y = arrays(row, f"X_{row.part}", f"y_{row.part}")
    train, _, _ = split(x.astype(np.float64), y, 1, False)
    test = train[np.random.default_rng(0).integers(0, len(train), given.rows)]
    source = nd.open({"x_train": train, "x_test": test})
    torch.manual_seed(0)
    model = vae(source.spec, likelihood="composite", latent=4)
    optimise(model, source.train, steps=100, seed=0, validation=0)
    times: dict[str, list[float]] = {name: [] for name in (PEER, *CODES)}
    with peer(given.peers, train, test) as seconds:
        for _ in range(given.rounds):
            times[PEER].append(seconds())
            for name, codes in CODES.items():
                began = time.process_time()
                for some in torch.arange(given.rows).split(1024):
                    score_terms(model, source.test.batch(some), codes)
                times[name].append(time.process_time() - began)
    print("| | microseconds a row | times as fast |\n|---|---|---|")
    for name, each in times.items():
        ratio = np.array(times[PEER]) / np.array(each)
        shown = f"{np.median(ratio):.1f} ({ratio.min():.1f} to {ratio.max():.1f})"
        print(f"| {name} | {1e6 * np.median(each) / given.rows:.0f} | {shown} |")


if __name__ == "__main__":
    main()
