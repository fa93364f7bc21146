"""Reading shuffled activations: ours from shards, and the Arrow cache of Hugging Face `datasets`, interleaved.

    OMP_NUM_THREADS=1 python -m benchmarks.reader [--mib 768] [--rounds 5] [--peers DIR] [--folder DIR]

The same rows, float32 of width 384 in contexts of 128 tokens, are written once as a harvest folder and once as an
Arrow data set with an `Array2D` column of whole contexts, as SAELens keeps them. A round reads a part of an epoch in
each way, in batches of 4096 rows as torch tensors, and the next way goes on where the machine is now; files are in
the page cache (they were just written), so this is the cost of the reader and not of the disk.

==================  =================================================================================================
ours                `BatchReader` over the mapped harvest: rows shuffled across shards, a window of 64 MiB ahead
ours, loose rows    `Dataset.batch` of random row numbers: no order at all is asked of the disk
Arrow, in order     slices of contexts one after another: no rows are shuffled at all
Arrow, mixed        the same through a mixing buffer of 64 MiB, half of which is served: what SAELens does with a cache
Arrow, shuffled     `Dataset.shuffle`, slices, mixing buffer: rows shuffled as far as ours are
==================  =================================================================================================

Rates are MB/s of float32 that reach the caller: by the clock, and by CPU time (of all threads). DIR is a folder that
holds `datasets` where the environment does not: pip install --target DIR --no-deps datasets dill multiprocess xxhash
pandas pyarrow. Without it those columns are left out.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import narrows.data
from narrows.activations.shards import ShardWriter
from narrows.data import BatchReader

WIDTH, CONTEXT, BATCH, SHARDS = 384, 128, 4096, 12

Ways = dict[str, Iterator[Tensor]]


def write_ours(folder: Path, rows: Tensor) -> None:
    """The rows as a harvest folder."""
    header = {
        "model": {"name": "noise"},
        "layers": {"acts": {"shape": [WIDTH], "dtype": "float32"}},
        "contexts": {"length": CONTEXT},
        "text": {},
    }
    writer = ShardWriter(folder, header)
    contexts = rows.view(-1, CONTEXT, WIDTH)
    for unit, part in enumerate(contexts.chunk(SHARDS)):
        tensors = {"acts": part.flatten(0, 1), "context_rows": torch.full((len(part),), CONTEXT)}
        writer.write(unit, tensors | {"positions": torch.arange(CONTEXT).repeat(len(part))})
    writer.finish(range(SHARDS))


def write_arrow(folder: Path, rows: Tensor, datasets: Any) -> float:
    """The rows as an Arrow data set; how many seconds that took."""
    contexts = rows.view(-1, CONTEXT, WIDTH)
    features = datasets.Features({"acts": datasets.Array2D((CONTEXT, WIDTH), "float32")})

    def examples() -> Iterator[dict[str, np.ndarray]]:
        for context in contexts:
            yield {"acts": context.numpy()}

    begun = time.perf_counter()
    cache = str(folder / "cache")
    made = datasets.Dataset.from_generator(examples, features=features, cache_dir=cache)
    made.save_to_disk(str(folder / "saved"))
    return time.perf_counter() - begun


def ours(folder: Path, loose: bool) -> Iterator[Tensor]:
    """Batches without end."""
    data = narrows.data.open(folder, mapped=True, verify=False).train
    feed, step = BatchReader(data, BATCH, seed=0), 0
    draw = np.random.default_rng(0)
    while True:
        if loose:
            yield data.batch(torch.from_numpy(draw.integers(len(data), size=BATCH))).x
        else:
            yield feed.at(step).x
        step += 1


def mixed(contexts: Iterator[Tensor], window: int = 64 << 20) -> Iterator[Tensor]:
    """Batches of rows from a buffer that is filled, shuffled, and served by half."""
    size = window // (WIDTH * 4)
    kept, held = [], 0
    for part in contexts:
        kept.append(part)
        held += len(part)
        if held >= size:
            buffer = torch.cat(kept)
            buffer = buffer[torch.randperm(len(buffer))]
            served = held // 2 // BATCH * BATCH
            yield from buffer[:served].split(BATCH)
            kept, held = [buffer[served:]], held - served


def arrow(folder: Path, shuffled: bool, datasets: Any) -> Iterator[Tensor]:
    """Batches without end."""
    data = datasets.load_from_disk(str(folder / "saved")).with_format("torch")
    if shuffled:
        data = data.shuffle(seed=0, keep_in_memory=True)
    at, together = 0, BATCH // CONTEXT
    while True:
        if at + together > len(data):
            at = 0
        yield data[at : at + together]["acts"].flatten(0, 1)
        at += together


def measure(ways: Ways, rounds: int, batches: int) -> dict[str, list[tuple[float, float]]]:
    """Seconds by the clock and of CPU per batch, for each round of each way."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for way in ways.values():
        next(way)  # opening, and the first window
    for _ in range(rounds):
        for name, way in ways.items():
            clock, cpu = time.perf_counter(), time.process_time()
            for _ in range(batches):
                x = next(way)
                assert x.shape == (BATCH, WIDTH)
            found[name].append(
                ((time.perf_counter() - clock) / batches, (time.process_time() - cpu) / batches)
            )
    return found


def table(found: dict[str, list[tuple[float, float]]], say: Callable[[str], None] = print) -> None:
    """The medians over rounds, and how many times as fast as the mixed Arrow cache each is."""
    size = BATCH * WIDTH * 4 / 1e6
    rates = {
        name: [statistics.median(size / seconds[i] for seconds in rounds) for i in (0, 1)]
        for name, rounds in found.items()
    }
    base = rates.get("Arrow, mixed")
    say(f"{'':18} {'MB/s':>8} {'MB/s of CPU':>12}" + (f" {'x mixed':>8}" if base else ""))
    for name, (clock, cpu) in rates.items():
        say(f"{name:18} {clock:8.0f} {cpu:12.0f}" + (f" {clock / base[0]:8.1f}" if base else ""))


def main() -> int:
    """Write both stores, read them in turns, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mib", type=int, default=768)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, default=40)
    parser.add_argument("--peers", type=Path, default=None)
    parser.add_argument("--folder", type=Path, default=None)
    given = parser.parse_args()
    if given.peers is not None:
        sys.path.append(str(given.peers))
    contexts = given.mib * (1 << 20) // (4 * WIDTH * CONTEXT)
    rows = torch.randn(contexts * CONTEXT, WIDTH, generator=torch.Generator().manual_seed(0))
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        begun = time.perf_counter()
        write_ours(folder / "ours", rows)
        size = rows.nbytes / 1e6
        print(f"{size:.0f} MB; written by us at {size / (time.perf_counter() - begun):.0f} MB/s")
        ways: Ways = {"ours": ours(folder / "ours", False), "ours, loose rows": ours(folder / "ours", True)}
        try:
            import datasets
        except ImportError as error:
            print(f"The Arrow cache is left out: `datasets` cannot be imported ({error}). Give --peers DIR.")
        else:
            datasets.disable_progress_bars()
            print(
                f"by datasets {datasets.__version__} at {size / write_arrow(folder, rows, datasets):.0f} MB/s"
            )
            ways["Arrow, in order"] = arrow(folder, False, datasets)
            ways["Arrow, mixed"] = mixed(arrow(folder, False, datasets))
            ways["Arrow, shuffled"] = mixed(arrow(folder, True, datasets))
        table(measure(ways, given.rounds, given.batches))
    return 0


if __name__ == "__main__":
    sys.exit(main())
