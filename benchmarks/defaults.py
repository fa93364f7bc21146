"""What `ae` and `vae` reach at defaults on small tables, beside a PCA of the same width.

    python -m benchmarks.defaults [--sets sk-wine,adbench-glass] [--methods ae,vae] [--seeds 0,1,2]
                                  [--fewer-than 1000] [--split-seed 1]

The tables that scikit-learn carries, and those of `NARROWS_DATA` (ADBench, UCI Adult, German credit). A row is a set,
fitted once for each seed and without any other option; the width of the code is the default too. FVU is the fraction of
variance unexplained of the test part, which training never sees (the mean over seeds); PCA is fitted on the whole
training part, the method on what is left of it after the rows that tell when to stop. Seconds, of all cores and by the
clock, are of the slowest whole fit, the folder written. `--split-seed` draws other test rows, as many.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

import narrows as nr
import narrows.data as nd
from narrows.core.check import NarrowsError
from narrows.kernels.metrics import fvu
from narrows.nets.build import code_width

SCIKIT = ("iris", "wine", "breast_cancer", "diabetes", "digits", "linnerud")
GOAL = 1.05


@dataclass(frozen=True)
class Fit:
    """One fit: FVU of the test part, at which step it ended and why, and its seconds of CPU and clock."""

    fvu: float
    end: str
    cpu: float
    clock: float


def tables(wanted: list[str]) -> Iterator[tuple[str, nd.Source]]:
    """The data sets by name; those that are not on this machine are left out with a word."""
    from sklearn import datasets

    for name in SCIKIT:
        if not wanted or f"sk-{name}" in wanted:
            loaded = getattr(datasets, f"load_{name}")()
            yield f"sk-{name}", nd.open(np.asarray(loaded.data, dtype=np.float64))
    ours = [n for n in nd.names() if n.startswith("adbench-") and "features" not in n]
    for name in [*ours, "adult", "german-credit"]:
        if not wanted or name in wanted:
            try:
                yield name, nd.open(name)
            except NarrowsError as error:
                print(f"({name} is left out: {str(error).splitlines()[0]})")


def drawn_anew(source: nd.Source, seed: int) -> nd.Source:
    """The same rows, of which others are the test part."""
    rows = torch.cat([part.scaling.invert(part.all().x) for part in (source.train, source.test)]).numpy()
    order = np.random.default_rng(seed).permutation(len(rows))
    test, train = np.split(rows[order], [len(source.test)])
    return nd.open({"x_train": train, "x_test": test})


def pca(source: nd.Source, width: int) -> float:
    """FVU of the test part by the first components of the training part, in float64."""
    train, test = (part.all().x.flatten(1).double() for part in (source.train, source.test))
    mean = train.mean(0)
    axes = torch.linalg.svd(train - mean, full_matrices=False)[2][:width]
    return float(fvu(test, (test - mean) @ axes.T @ axes + mean))


def fitted(source: nd.Source, method: str, seed: int) -> Fit:
    """A fit at defaults."""
    with tempfile.TemporaryDirectory() as folder:
        cpu, clock = time.process_time(), time.perf_counter()
        run = nr.fit(source, method, Path(folder) / "run", seed=seed, progress=False, device="cpu")
        cpu, clock = time.process_time() - cpu, time.perf_counter() - clock
        end = json.loads((run.path / "result.json").read_text())["stages"][0]
    batch = source.test.all()
    with torch.no_grad():
        made = [
            run.model.reconstruct(source.test.batch(rows)) for rows in torch.arange(len(batch.x)).split(4096)
        ]
    return Fit(
        float(fvu(batch.x, torch.cat(made))), f"{end['kept']} of {end['step']}, {end['why']}", cpu, clock
    )


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sets", default="")
    parser.add_argument("--methods", default="ae,vae")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--fewer-than", type=int, default=10**9, help="only sets of fewer training rows")
    parser.add_argument("--split-seed", type=int, default=None, help="draw other test rows")
    arguments = parser.parse_args()
    methods, seeds = arguments.methods.split(","), [int(s) for s in arguments.seeds.split(",")]
    columns = [f"{m} | x PCA | {m}: weights of step | CPU s | s" for m in methods]
    print("| set | rows | columns | width | PCA |", " | ".join(columns), "|")
    print("|---|---|---|---|---|" + "---|---|---|---|---|" * len(methods))
    found: dict[str, list[tuple[float, float, str]]] = {method: [] for method in methods}
    fitted(nd.open(np.eye(8, dtype=np.float32)), "ae", 0)  # what is imported once is in no set's seconds
    for name, source in tables([n for n in arguments.sets.split(",") if n]):
        if len(source.train) >= arguments.fewer_than:
            continue
        if arguments.split_seed is not None:
            source = drawn_anew(source, arguments.split_seed)
        size, width = source.train.all(1).x[0].numel(), code_width(0, source.spec.shape)
        floor = pca(source, width)
        cells = [name, f"{len(source.train):,}", str(size), str(width), f"{floor:.4f}"]
        for method in methods:
            fits = [fitted(source, method, seed) for seed in seeds]
            ratios = [fit.fvu / max(floor, 1e-12) for fit in fits]
            slowest = max(fits, key=lambda fit: fit.cpu)
            cells += [f"{np.mean([fit.fvu for fit in fits]):.4f}", ", ".join(f"{r:.2f}" for r in ratios)]
            cells += [slowest.end, f"{slowest.cpu:.1f}", f"{slowest.clock:.1f}"]
            found[method] += [(ratio, slowest.cpu, name) for ratio in ratios]
        print("|", " | ".join(cells), "|", flush=True)
    for method, all_fits in found.items():
        within = sum(round(ratio, 2) <= GOAL for ratio, _, _ in all_fits)
        (worst, _, where), (_, cpu, slow) = max(all_fits), max(all_fits, key=lambda fit: fit[1])
        print(
            f"\n{method}: {within} of {len(all_fits)} fits at most {GOAL} x PCA; worst {worst:.2f} ({where}); "
            f"slowest {cpu:.1f} CPU s ({slow})"
        )


if __name__ == "__main__":
    main()
