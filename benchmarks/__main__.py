"""All tables, one after the other: `python -m benchmarks`."""

from __future__ import annotations

import runpy
import sys

for name in ("start", "trainer", "sae", "widths", "harvest", "reader", "quantised", "pixels", "memmap"):
    print(f"\n## python -m benchmarks.{name}\n", flush=True)
    sys.argv = [name]
    runpy.run_module(f"benchmarks.{name}", run_name="__main__")
