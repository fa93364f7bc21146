"""What a computation costs: operations, processor seconds, and energy where the system measures it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from torch.utils.flop_counter import FlopCounterMode

__all__ = ["Spent", "flops", "joules", "spent"]

_SENSORS = Path("/sys/class/powercap")
"""Where Linux has the energy counters of the processor (RAPL), if it may be read."""


class Spent(NamedTuple):
    """The cost of a computation.

    Args:
        seconds: of the processor, over all threads.
        joules: of the processor, with all that runs beside; None where no sensor can be read.
    """

    seconds: float
    joules: float | None


def flops(work: Callable[[], Any]) -> int:
    """The floating-point operations of matrix products, convolutions and attention, two for each multiply and add.

    Operations on single elements and gathers of rows are not counted.

    Args:
        work: the computation.

    Example:
        >>> layer = torch.nn.Linear(3, 5)
        >>> flops(lambda: layer(torch.zeros(2, 3)))
        60

    Reference:
        `torch.utils.flop_counter`.
    """
    with FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops())


def spent(work: Callable[[], Any], sensors: Path = _SENSORS) -> Spent:
    """Run a computation and measure its cost.

    Args:
        work: the computation.
        sensors: the folder of the energy counters.
    """
    before, started = joules(sensors), time.process_time()
    work()
    seconds, after = time.process_time() - started, joules(sensors)
    energy = None
    if before and after and before.keys() == after.keys():
        energy = sum(_difference(before[name], after[name], sensors / name) for name in before)
    return Spent(seconds, energy)


def joules(sensors: Path = _SENSORS) -> dict[str, float]:
    """The counters of energy of each processor package, in joules; empty where none can be read.

    Args:
        sensors: a folder with a folder for each package, ``intel-rapl:0`` ..., with a file ``energy_uj``.
    """
    found = {}
    try:
        for zone in sorted(sensors.glob("*:*")):
            if zone.name.count(":") == 1:  # a part of a package has a second number
                found[zone.name] = float((zone / "energy_uj").read_text()) * 1e-6
    except (OSError, ValueError):
        return {}
    return found


def _difference(before: float, after: float, zone: Path) -> float:
    """The energy between two readings of a counter that begins again at its range."""
    if after >= before:
        return after - before
    try:
        return after - before + float((zone / "max_energy_range_uj").read_text()) * 1e-6
    except (OSError, ValueError):
        return 0.0
