"""What missing values cost: a masked training step over an unmasked one, and the imputation of a large table.

    OMP_NUM_THREADS=1 python -m benchmarks holes [--rounds 15] [--rows 100000] [--codes 100]

Processor milliseconds of a training step of 128 examples, of which a fifth of the values is missing, and of one with
the same model and no mask: medians of rounds of ten steps of each, and of their ratio. Then the wall seconds of
`Run.impute` for a table of 20 columns of numbers in a .parquet file, a fifth of its cells missing, with that many codes
for each row.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

import narrows as nr
from benchmarks.columns import rows, table
from narrows.core import Autoencoder, Batch, Spec
from narrows.methods.index import builder
from narrows.testing.case import prepare

CALLS = 10
METHODS = ("vae", "missing-iwae", "ae", "iwae")


def step(model: Autoencoder, batch: Batch) -> Callable[[], None]:
    """A training step."""
    optimizer = torch.optim.Adam(model.parameters(), fused=True)

    def run() -> None:
        optimizer.zero_grad()
        model.loss(batch).total.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return run


def interleaved(runs: list[Callable[[], None]], rounds: int) -> np.ndarray:
    """Processor milliseconds of each, (rounds, len(runs)), means of ten calls; the first round is left out."""
    found = []
    for turn in range(rounds + 1):
        row = np.zeros(len(runs))
        for place in [*range(len(runs))][:: 1 if turn % 2 else -1]:
            start = time.process_time()
            for _ in range(CALLS):
                runs[place]()
            row[place] = 1e3 * (time.process_time() - start) / CALLS
        found.append(row)
    return np.array(found[1:])


def steps(rounds: int) -> None:
    """Print the ratio of steps."""
    print(f"{'data':24} {'method':13} {'masked ms':>9} {'unmasked ms':>11} {'ratio':>6}")
    shape = (1, 28, 28)
    specs = {
        "20 numbers": table(20, 0),
        "10 numbers, 10 levels": table(10, 10),
        "images 28 x 28": Spec(shape, "unit", conditions={"observed": shape}),
    }
    for name, spec in specs.items():
        x = rows(spec) if spec.kind == "table" else torch.rand(128, *shape)
        seen = torch.rand(x.shape) < 0.8
        holed = Batch(torch.where(seen, x, 0), None, {"observed": seen}, seen.float())
        for method in METHODS:
            if spec.kind != "table" and method == "missing-iwae":
                continue
            model = builder(method)(spec)
            prepare(model, holed)
            ms = interleaved([step(model, holed), step(model, Batch(x))], rounds)
            masked, unmasked = np.median(ms, 0)
            ratio = np.median(ms[:, 0] / ms[:, 1])
            print(f"{name:24} {method:13} {masked:9.2f} {unmasked:11.2f} {ratio:6.2f}", flush=True)


def imputation(count: int, codes: int) -> None:
    """Print the seconds of the imputation of a table."""
    import pyarrow as pa
    from pyarrow import parquet

    rng = np.random.default_rng(0)
    x = rng.normal(size=(count, 5)) @ rng.normal(size=(5, 20)) + 0.3 * rng.normal(size=(count, 20))
    x = np.where(rng.random(x.shape) < 0.2, np.nan, x.round(2))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.parquet"
        columns = {f"c{i}": pa.array(column, from_pandas=True) for i, column in enumerate(x.T)}
        parquet.write_table(pa.table(columns), path)
        run = nr.fit(path, "missing-iwae", Path(folder) / "r", steps=50, progress=False)
        wall, processor = time.perf_counter(), time.process_time()
        filled = run.impute(path, samples=codes)
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
        assert np.isfinite(filled["c0"]).all()
    what = f"{count} rows x 20, {codes} codes a row, {torch.get_num_threads()} threads"
    print(f"\n{what}: {wall:.0f} s, {processor:.0f} s of processors")


def main() -> None:
    """Print both."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--codes", type=int, default=100)
    given = parser.parse_args()
    torch.manual_seed(0)
    steps(given.rounds)
    if given.rows:
        imputation(given.rows, given.codes)


if __name__ == "__main__":
    main()
