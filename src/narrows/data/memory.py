"""The memory limit, checked against the size declared by a file before anything is allocated."""

from __future__ import annotations

import os
import re
from pathlib import Path

from narrows.core.check import RequestError, refuse

__all__ = ["free_bytes", "make_room"]

LIMIT = "NARROWS_MEMORY"
_SHARE = 0.8
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def make_room(
    wanted: int, what: str, fix: str = "Read a part of it, or use a machine with more memory."
) -> None:
    """Raise an error for an allocation that would not fit into memory.

    The limit is four fifths of the available memory; NARROWS_MEMORY=16G in the environment sets another one.

    Args:
        wanted: number of bytes.
        what: what needs them, for the message.
        fix: how to use less memory, a sentence.

    Raises:
        RequestError: they are not available.

    Example:
        >>> make_room(1000, "x.npy")
    """
    text = os.environ.get(LIMIT, "")
    limit = _parsed(text) if text else _SHARE * free_bytes()
    if wanted > limit:
        raise RequestError(
            f"{what} needs about {_size(wanted)} of memory, and the limit is {_size(limit)}. {fix} "
            f"To try it anyway, set {LIMIT}={-(-wanted // _UNITS['G'])}G."
        )


def free_bytes() -> int:
    """The memory available to this process: of the machine, or of its container."""
    free = [_machine(), *_containers()]
    return min(n for n in free if n is not None) if any(n is not None for n in free) else 1 << 62


def _machine() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration, ValueError, IndexError):
        pass
    try:  # available memory is unknown: half of the total
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (ValueError, OSError, AttributeError):
        return None


def _containers() -> list[int]:
    """The memory left by the limits of the container, if any (control groups, versions 2 and 1)."""
    found = []
    root = Path("/sys/fs/cgroup")
    for limit, used in (
        (root / "memory.max", root / "memory.current"),
        (root / "memory/memory.limit_in_bytes", root / "memory/memory.usage_in_bytes"),
    ):
        try:
            found.append(max(0, int(limit.read_text()) - int(used.read_text())))
        except (OSError, ValueError):  # no control group, or no limit ("max")
            continue
    return found


def _parsed(text: str) -> int:
    match = re.fullmatch(r"(\d{1,9}(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if match is None:
        raise refuse(LIMIT, text, "an amount of memory in the environment, such as 16G")
    return int(float(match[1]) * _UNITS[match[2].upper()])


def _size(count: float) -> str:
    return f"{count / _UNITS['G']:.1f} GiB" if count >= _UNITS["G"] else f"{count / _UNITS['M']:.0f} MiB"
