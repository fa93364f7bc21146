"""`scvi` of narrows and scVI of scvi-tools on the same cells.

    OMP_NUM_THREADS=1 python -m benchmarks.counts --peers PYTHON [--data pbmc68k] [--epochs 100] [--seeds 3]

PYTHON is the interpreter of an environment with scvi-tools, whose torch has the version of this one:
`python -m venv DIR; DIR/bin/pip install -c constraints.txt scvi-tools`. Each seed of each library is a process of its
own, one after the other in turn, with as many epochs over the same training cells in batches of 128. Without --peers
only ours is measured.

Held-out likelihood: the importance estimate of -log p(x) given the total of a cell, in nats a cell. ARI and NMI: of 10
runs of k-means on the codes of all cells. Neighbours: the accuracy of the type of held-out cells by 15 nearest training
cells in the code. The time is that of the training alone, without imports.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from narrows.audit.evidence.likelihood import importance_nll
from narrows.audit.metrics.neighbours import adjusted_rand, mutual_information, neighbour_accuracy
from narrows.core import seeded
from narrows.data import Source
from narrows.data import open as open_data
from narrows.kernels.kmeans import kmeans, nearest
from narrows.methods.tabular.scvi import scvi
from narrows.train import optimise

COLUMNS = ("nll", "ari", "nmi", "neighbours", "cpu", "wall")


def ours(source: Source, out: str, seed: int, epochs: int, samples: int) -> dict[str, float]:
    torch.set_num_threads(1)
    steps = epochs * max(1, len(source.train) // 128)
    torch.manual_seed(seed)
    model = scvi(source.spec, beta=f"linear:0:1:{max(1, steps // 2)}")
    wall, cpu = time.perf_counter(), time.process_time()
    optimise(model, source.train, steps=steps, seed=seed, batch_size=128, lr=f"cosine:2e-3:0:{steps}")
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    model.eval()
    nll = float(importance_nll(model, source.test.all(), samples, seed, chunk=10).mean())
    with torch.no_grad():
        codes = {name: model.features(part.all()).numpy() for name, part in _parts(source).items()}
    np.savez(out, **codes)
    return {"wall": wall, "cpu": cpu, "nll": nll}


def _parts(source: Source):
    return {"train": source.train, "test": source.test}


def types(codes: dict[str, torch.Tensor], source: Source) -> dict[str, float]:
    """ARI, NMI and the accuracy of neighbours."""
    labels = {name: part.labels for name, part in _parts(source).items()}
    if labels["train"] is None:
        return {}
    whole, known = torch.cat([codes["train"], codes["test"]]), torch.cat([labels["train"], labels["test"]])
    indices = []
    for run in range(10):
        with seeded(run):
            centres, _ = kmeans(whole, source.spec.classes, 50)
        clusters = nearest(whole, centres)
        indices.append((adjusted_rand(clusters, known), mutual_information(clusters, known)))
    right = neighbour_accuracy(codes["train"], labels["train"], codes["test"], labels["test"])
    ari, nmi = (statistics.fmean(column) for column in zip(*indices, strict=True))
    return {"ari": ari, "nmi": nmi, "neighbours": float(right.double().mean())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", default="", help="interpreter of the environment with scvi-tools")
    parser.add_argument("--data", default="pbmc68k")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--only", nargs=2, metavar=("SEED", "OUT"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    source = open_data(given.data, min_counts=1)
    if given.only:
        print(json.dumps(ours(source, given.only[1], int(given.only[0]), given.epochs, given.samples)))
        return
    found: dict[str, list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        cells, out = Path(folder, "cells.npz"), Path(folder, "codes.npz")
        np.savez(cells, **{name: part.all().x.numpy() for name, part in _parts(source).items()})
        base = ["--data", given.data, "--epochs", str(given.epochs), "--samples", str(given.samples)]
        for seed in range(given.seeds):
            commands = {
                "narrows": [sys.executable, "-m", "benchmarks.counts", *base, "--only", str(seed), str(out)]
            }
            if given.peers:
                sizes = [str(seed), str(given.epochs), str(given.samples)]
                commands["scvi-tools"] = [
                    given.peers,
                    "benchmarks/counts_peers.py",
                    str(cells),
                    str(out),
                    *sizes,
                ]
            for name, command in commands.items():
                said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                numbers = json.loads(said.strip().splitlines()[-1])
                with np.load(out) as codes:
                    numbers |= types({part: torch.from_numpy(codes[part]) for part in _parts(source)}, source)
                found.setdefault(name, []).append(numbers)
                print(f"{name}, seed {seed}: {numbers}", file=sys.stderr, flush=True)
    show(found)


def show(found: dict[str, list[dict[str, float]]]) -> None:
    columns = [name for name in COLUMNS if all(name in row for rows in found.values() for row in rows)]
    print(f"| library | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 1)}")
    for name, rows in found.items():
        cells = []
        for column in columns:
            values = [row[column] for row in rows]
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            cells.append(f"{statistics.fmean(values):.4g} ± {spread:.2g}")
        print(f"| {name} | {' | '.join(cells)} |")
    if len(found) > 1:
        for clock in ("cpu", "wall"):
            ratios = [a[clock] / b[clock] for a, b in zip(found["narrows"], found["scvi-tools"], strict=True)]
            print(f"{clock}: narrows takes {statistics.fmean(ratios):.2f} of the time of scvi-tools")


if __name__ == "__main__":
    main()
