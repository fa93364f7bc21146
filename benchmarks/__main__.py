"""One table, `python -m benchmarks NAME [OPTIONS]`, or the fast ones, one after the other: `python -m benchmarks`."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

_FAST = ("start", "trainer", "sae", "widths", "harvest", "reader", "quantised", "pixels", "memmap")


def main() -> None:
    """Run the tables that are named, or the fast ones."""
    if len(sys.argv) > 1:
        _run(sys.argv[1], sys.argv[2:])
        return
    for name in _FAST:
        print(f"\n## python -m benchmarks {name}\n", flush=True)
        _run(name, [])


def _run(name: str, options: list[str]) -> None:
    """Run a module of this package as a command."""
    here = Path(__file__).parent
    names = sorted(
        path.stem
        for path in here.glob("[!_]*.py")
        if not path.stem.endswith("peers") and "__main__" in path.read_text(encoding="utf-8")
    )
    if name not in names:
        sys.exit(f"There is no table `{name}`. There are: {', '.join(names)}.")
    sys.argv = [f"python -m benchmarks {name}", *options]
    runpy.run_module(f"benchmarks.{name}", run_name="__main__")


main()
