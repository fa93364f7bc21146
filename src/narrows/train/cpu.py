"""How a CPU is set while training: denormals flushed in every thread, threads chosen for the machine.

Adam's moments of inputs that are always zero (MNIST's border) decay into denormal numbers, on which a CPU is
many times slower. The mode that flushes them to zero belongs to a thread, and OpenMP's workers inherit it only
when they are born, so the pool is dismissed after the switch: the next parallel region starts workers in the new
mode.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from narrows.core import Autoencoder, seeded
from narrows.data.dataset import Examples

__all__ = ["Examples", "available_threads", "threads_for", "training_mode"]

_WORK = 5e7
"""Multiply-adds of a forward pass that are worth a thread of their own; below, waking it costs more than it does."""


def available_threads() -> int:
    """How many threads this process may keep busy: its affinity, its container's quota, `OMP_NUM_THREADS`."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdigit() and int(asked) > 0:
        return int(asked)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        if quota != "max":
            cores = min(cores, max(1, int(quota) // int(period)))
    return min(cores, torch.get_num_threads())


def threads_for(model: Autoencoder, examples: Examples, batch_size: int) -> int:
    """How many threads suit the work of one step: small networks are faster, and kinder to others, on one.

    The choice depends on the model and the batch size alone, never on a stopwatch, since the last bits of a result
    depend on it.

    Args:
        model: what will be trained; left as it is.
        examples: what it will be trained on.
        batch_size: how many of them a step sees.
    """
    available = available_threads()
    if available == 1 or len(examples) == 0:
        return available
    batch = examples.batch(torch.arange(min(len(examples), batch_size)), model.conditions)
    counter = FlopCounterMode(display=False)
    with seeded(0), torch.no_grad(), counter:
        model.loss(batch)
    return max(1, min(available, int(counter.get_total_flops() / 2 / _WORK)))


@contextmanager
def training_mode(threads: int | None = None) -> Iterator[None]:
    """Flush denormals in all threads and use `threads` of them; put both back afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads or available_threads())
    _flush(True)
    try:
        yield
    finally:
        _flush(False)
        torch.set_num_threads(before)


def _flush(on: bool) -> None:
    if torch.set_flush_denormal(on):
        _dismiss_workers()


def _dismiss_workers() -> None:
    """End OpenMP's idle workers, so that the next ones are born in this thread's floating-point mode."""
    with suppress(OSError, AttributeError):
        maps = Path("/proc/self/maps").read_text().splitlines()
        for library in {line.split()[-1] for line in maps if "libgomp" in line}:
            hard = 2  # omp_pause_hard of OpenMP 5.0
            ctypes.CDLL(library).omp_pause_resource_all(hard)
