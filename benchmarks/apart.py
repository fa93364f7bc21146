"""Variants of one piece of work, each in a process of its own, their rounds interleaved.

A process of its own keeps a library's imports, threads and memory out of the others' figures; interleaving makes a
busy minute of the machine fall on all alike. CPU time is the process's own, so that it means something on a machine
that others use too.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Measured", "Variant", "measure", "ratio", "serve"]

Variant = Callable[[], Iterator[float]]
"""Builds the work; each `next` does a round of it and says the mean loss of the round."""


@dataclass
class Measured:
    """What a variant took, round by round: seconds of CPU and wall time, losses, and its peak memory in MB."""

    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    peak: float = 0.0


def measure(
    module: str,
    names: Sequence[str],
    argv: Sequence[str],
    rounds: int,
    elsewhere: Mapping[str, tuple[str, str]] | None = None,
) -> dict[str, Measured]:
    """Run `python -m module ... --only NAME` for each name, side by side, a round each in turn.

    Those in `elsewhere` run by another interpreter and another module. One round before the others is not timed
    (its loss is kept). A variant that cannot start is left out, and its last words are printed.
    """
    running: dict[str, subprocess.Popen[str]] = {}
    for name in names:
        python, own = (elsewhere or {}).get(name, (sys.executable, module))
        command = [python, "-m", own, *argv, "--only", name]
        pipe = subprocess.PIPE
        running[name] = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, text=True, env={**os.environ, "PYTHONWARNINGS": "ignore"}
        )
    measured = {name: Measured() for name in names}
    for number in range(rounds + 1):
        for name, process in list(running.items()):
            said = _ask(process)
            if "skip" in said:
                print(f"({name} is skipped: {said['skip']})", file=sys.stderr, flush=True)
                del running[name], measured[name]
                continue
            one = measured[name]
            one.loss.append(said["loss"])
            one.peak = said["peak"]
            if number:
                one.cpu.append(said["cpu"])
                one.wall.append(said["wall"])
    for process in running.values():
        process.communicate()
    return measured


def _ask(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write("go\n")
        process.stdin.flush()
        line = process.stdout.readline()
    except BrokenPipeError:
        line = ""
    if not line:
        return {"skip": "its process ended; the reason is printed above"}
    said: dict[str, Any] = json.loads(line)
    return said


def serve(variants: Mapping[str, Variant], name: str) -> None:
    """The other side: do a round for each line of stdin. What a library prints goes to nowhere."""
    speak = os.fdopen(os.dup(1), "w")
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    try:
        rounds = variants[name]()
    except ImportError as error:
        print(json.dumps({"skip": f"it cannot be imported ({error})"}), file=speak, flush=True)
        return
    while sys.stdin.readline():
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            loss = next(rounds)
        except ImportError as error:
            print(json.dumps({"skip": f"it cannot be imported ({error})"}), file=speak, flush=True)
            return
        facts = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
        print(json.dumps({**facts, "loss": float(loss), "peak": peak()}), file=speak, flush=True)
    os._exit(0)  # a trainer that waits in a thread has no end


def peak() -> float:
    """The peak resident memory of this process so far, in MB (2^20 bytes)."""
    # Not getrusage: it also counts what the parent had in memory when this process began.
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024


def ratio(times: Sequence[float], base: Sequence[float]) -> str:
    """The median ratio of two lists of rounds, paired, and its range."""
    paired = sorted(a / b for a, b in zip(times, base, strict=True))
    return f"{statistics.median(paired):.2f} ({paired[0]:.2f} to {paired[-1]:.2f})"
