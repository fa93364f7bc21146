"""Step time and peak memory of `topk-sae` by the number of latents, through the whole trainer.

    python -m benchmarks.widths [--latents 4096,16384,65536,262144] [--batches 512,2048] [--width 384] [--k 64]

Each row is a process of its own: the engine of `narrows fit` with hooks, metrics and a checkpoint of everything at
the end, from the first step to the last. The time is the median step, the first left out; memory is the peak of the
whole process, torch's imports, the data and the checkpoint included.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import torch

import narrows.data
from benchmarks.apart import measure, serve
from narrows.core.progress import Silent
from narrows.methods.sparse.topk_sae import topk_sae
from narrows.train import Engine, Plan, Store, training_mode


class Clock(Silent):
    """Notes CPU and wall time at each step that is shown."""

    def __init__(self) -> None:
        self.times: list[tuple[float, float]] = []
        self.loss = float("nan")

    def advance(self, done: int, facts: Mapping[str, float] | None = None) -> None:
        """Note."""
        self.times.append((time.process_time(), time.perf_counter()))
        self.loss = (facts or {}).get("loss", self.loss)


def train(arguments: argparse.Namespace, latents: int, batch: int) -> Iterator[float]:
    """One run from the first step to the last; yields the median CPU milliseconds of a step."""
    generator = torch.Generator().manual_seed(0)
    rows = int((arguments.steps + 0.5) * batch / 0.9)
    x = torch.randn(rows, arguments.width, generator=generator).numpy()
    source = narrows.data.open(x, scale="none", split=0.1)
    torch.manual_seed(0)
    model = topk_sae((arguments.width,), latents=latents, k=arguments.k)
    plan = Plan(steps=arguments.steps, batch_size=batch, device="cpu", log_every=1, checkpoint_seconds=1e9)
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder, training_mode():
        Engine(model, plan, source.train, None, Store(Path(folder)), clock).run()
    steps = [b[0] - a[0] for a, b in zip(clock.times, clock.times[1:], strict=False)]
    while True:
        yield statistics.median(steps) * 1e3


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--latents", default="4096,16384,65536,262144")
    parser.add_argument("--batches", default="512,2048")
    for option, default in {"width": 384, "k": 64, "steps": 5}.items():
        parser.add_argument(f"--{option}", type=int, default=default)
    parser.add_argument("--only", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    sizes = [(int(n), int(b)) for n in arguments.latents.split(",") for b in arguments.batches.split(",")]
    variants = {f"{latents} x {batch}": partial(train, arguments, latents, batch) for latents, batch in sizes}
    if arguments.only:
        serve(variants, arguments.only)
        return
    print(f"d = {arguments.width}, k = {arguments.k}, {torch.get_num_threads()} thread(s)\n")
    print("| latents | batch | CPU ms a step | examples a second | peak memory, GiB |\n|---|---|---|---|---|")
    for (latents, batch), name in zip(sizes, variants, strict=True):
        for one in measure("benchmarks.widths", [name], sys.argv[1:], 0).values():
            ms, peak = one.loss[0], one.peak / 1024
            print(f"| {latents:,} | {batch} | {ms:.0f} | {batch / ms * 1e3:,.0f} | {peak:.2f} |", flush=True)


if __name__ == "__main__":
    main()
