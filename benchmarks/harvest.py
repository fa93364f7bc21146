"""The throughput of `harvest` against the bare forward pass to the same layer, interleaved in one process.

    python -m benchmarks.harvest [--rounds 7] [--tokens 60000] [--threads 1] [--model minilm --model stories260k]

Bare: ready batches of token ids through the model, a hook that stops it after the layer, nothing kept. Ours: everything
that harvesting does from ready contexts to checksummed shards on the disk; and once more from the text, tokenising
included. CPU is the process's own, all threads; the ratio is bare over ours, so that 1 is free and 0.9 is the aim: the
median over rounds, and that of the best round of each, which a busy machine distorts least.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from narrows.activations.models import Model, load
from narrows.activations.units import CONTEXTS, batches, work_of
from narrows.runs.harvesting import harvest


class Stop(Exception):
    """The layer was seen."""


@torch.no_grad()
def bare(model: Model, path: str, inputs: list[dict[str, torch.Tensor]]) -> None:
    """Run the model to the end of one module, batch by batch."""

    def stop(module: Any, args: Any, output: Any) -> None:
        raise Stop

    handle = model.module.get_submodule(path).register_forward_hook(stop)
    for batch in inputs:
        with contextlib.suppress(Stop):
            model.module(**batch)
    handle.remove()


def timed(work: Callable[[], Any]) -> tuple[float, float]:
    """Wall and CPU seconds of a piece of work."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def measured(name: str, tokens: int, rounds: int, at: str, folder: Path) -> None:
    """Measure one model and print its rows."""
    model = load(name, "cpu")
    how: dict[str, Any] = {"at": at, "tokens": tokens, "progress": False, "tokenizer": model.tokenizer}
    first = harvest(model.module, "bundled", out=folder / "first", **how)
    work, size = work_of(first.header, first.folder), first.header["units"]["batch"]
    ready = [work.inputs(which, torch.device("cpu"))[0] for which in batches(work, 0, len(work), size)]
    count = sum(batch["input_ids"].numel() for batch in ready)
    path = first.header["layers"][at]["module"]

    def from_contexts(i: int) -> None:
        out = folder / f"contexts-{i}"
        out.mkdir()
        for name in ("header.json", CONTEXTS):  # as left by a harvest that was stopped at once
            shutil.copy(first.folder / name, out)
        harvest(model.module, "bundled", out=out, **how)

    runs: dict[str, Callable[[int], Any]] = {
        "bare": lambda i: bare(model, path, ready),
        "from contexts": from_contexts,
        "from text": lambda i: harvest(model.module, "bundled", out=folder / f"text-{i}", **how),
    }
    times: dict[str, list[tuple[float, float]]] = {kind: [] for kind in runs}
    for i in range(rounds + 1):
        for kind, run in runs.items():
            spent = timed(lambda run=run, i=i: run(i))
            if i:
                times[kind].append(spent)
    for kind, spent in times.items():
        wall, cpu = (statistics.median(s[which] for s in spent) for which in (0, 1))
        ratio = statistics.median(b[1] / s[1] for b, s in zip(times["bare"], spent, strict=True))
        best = min(s[1] for s in times["bare"]) / min(s[1] for s in spent)
        print(
            f"{name:<12} {at:<8} {kind:<14} {count / wall:>9,.0f} tokens/s   wall {wall:6.2f} s   CPU {cpu:6.2f} s"
            f"   x{ratio:.3f}, best rounds x{best:.3f}",
            flush=True,
        )


def main() -> None:
    """Measure each model."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--tokens", type=int, default=60_000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--model", action="append", default=None)
    parser.add_argument("--at", default="resid.3")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    for name in given.model or ["minilm", "stories260k"]:
        with tempfile.TemporaryDirectory() as folder:
            measured(name, given.tokens, given.rounds, given.at, Path(folder))


if __name__ == "__main__":
    main()
