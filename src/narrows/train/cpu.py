"""CPU settings while training: denormals are flushed to zero in every thread; the number of threads.

Adam's moments of inputs that are always zero (MNIST's border) decay into denormal numbers, on which a CPU is
many times slower. The flush-to-zero mode is set per thread, and OpenMP's workers inherit it only when they
are created, so the thread pool is released after the switch: the next parallel region creates workers in the
new mode.
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
"""Multiply-adds of a forward pass per thread; below, starting a thread costs more than it saves."""


def available_threads() -> int:
    """The number of usable threads, by affinity, container quota and `OMP_NUM_THREADS`."""
    requested = os.environ.get("OMP_NUM_THREADS", "")
    if requested.isdigit() and int(requested) > 0:
        return int(requested)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        if quota != "max":
            cores = min(cores, max(1, int(quota) // int(period)))
    return min(cores, torch.get_num_threads())


def threads_for(model: Autoencoder, examples: Examples, batch_size: int) -> int:
    """The number of threads for the work of one step: small networks are faster with one.

    It depends on the model and the batch size only, never on measured time, since the last bits of a result
    depend on it.

    Args:
        model: the model, which is not changed.
        examples: the training data.
        batch_size: number of examples of a step.
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
    """A context in which denormals are flushed in all threads and `threads` of them are used."""
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
        _release_workers()


def _release_workers() -> None:
    """End OpenMP's idle workers, so that new ones are created in this thread's floating-point mode."""
    with suppress(OSError, AttributeError):
        maps = Path("/proc/self/maps").read_text().splitlines()
        for library in {line.split()[-1] for line in maps if "libgomp" in line}:
            hard = 2  # omp_pause_hard of OpenMP 5.0
            ctypes.CDLL(library).omp_pause_resource_all(hard)
