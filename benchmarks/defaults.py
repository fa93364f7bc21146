"""What `ae` and `vae` reach at defaults on small tables, beside a PCA of the same width.

    python -m benchmarks.defaults [--sets sk-wine,adbench-glass] [--methods ae,vae] [--seed 0]

The tables that scikit-learn carries, and those of `NARROWS_DATA` (ADBench, UCI Adult, German credit). A row is one
fit without any option but the seed; the width of the code is the default too. FVU is the fraction of
variance unexplained of the test part, which training never sees; PCA is fitted on the whole training part, the method
on what is left of it after the rows that tell when to stop. Seconds are of the whole fit, the folder written.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import narrows as nr
import narrows.data as nd
from narrows.check import NarrowsError
from narrows.measures import fvu
from narrows.nets.build import code_width

SCIKIT = ("iris", "wine", "breast_cancer", "diabetes", "digits", "linnerud")


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


def pca(source: nd.Source, width: int) -> float:
    """FVU of the test part by the first components of the training part, in float64."""
    train, test = (part.all().x.flatten(1).double() for part in (source.train, source.test))
    mean = train.mean(0)
    axes = torch.linalg.svd(train - mean, full_matrices=False)[2][:width]
    return float(fvu(test, (test - mean) @ axes.T @ axes + mean))


def fitted(source: nd.Source, method: str, seed: int) -> tuple[float, str, float]:
    """FVU of the test part by a method at defaults, how its training ended, and the seconds it took."""
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        run = nr.fit(source, method, Path(folder) / "run", seed=seed, progress=False, device="cpu")
        seconds = time.perf_counter() - begun
        end = json.loads((run.path / "result.json").read_text())["stages"][0]
        batch = source.test.all()
        parts = [run.model.reconstruct(source.test.batch(rows)) for rows in _chunks(len(batch.x))]
    return float(fvu(batch.x, torch.cat(parts))), f"{end['kept']} of {end['step']}, {end['why']}", seconds


def _chunks(n: int) -> Iterator[Tensor]:
    yield from torch.arange(n).split(4096)


@torch.no_grad()
def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sets", default="")
    parser.add_argument("--methods", default="ae,vae")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    methods = arguments.methods.split(",")
    columns = [f"{m} | x PCA | {m}: weights of step, s" for m in methods]
    print("| set | rows | columns | width | PCA |", " | ".join(columns), "|")
    print("|---|---|---|---|---|" + "---|---|---|" * len(methods))
    for name, source in tables([n for n in arguments.sets.split(",") if n]):
        size = source.train.all(1).x[0].numel()
        width = code_width(0, source.spec.shape)
        floor = pca(source, width)
        cells = [name, f"{len(source.train):,}", str(size), str(width), f"{floor:.4f}"]
        for method in methods:
            with torch.enable_grad():
                reached, end, seconds = fitted(source, method, arguments.seed)
            cells += [f"{reached:.4f}", f"{reached / max(floor, 1e-12):.2f}", f"{end}, {seconds:.0f}"]
        print("|", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    main()
