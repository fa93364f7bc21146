"""`compare`: several runs on one page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from narrows.core import files
from narrows.core.check import RequestError
from narrows.runs.run import Run, load

__all__ = ["compare"]


def compare(
    runs: Sequence[Run | str | Path],
    out: str | Path = "compare.html",
    progress: Any = None,
    write: bool = False,
) -> Path:
    """Audit several runs and write one self-contained page that compares them.

    Args:
        runs: two or more runs, or their folders.
        out: path of the page.
        progress: a `narrows.train.Progress`, or None.
        write: also write audit and report into the folder of each run without one.

    Raises:
        RequestError: fewer than two runs, or a folder that is not a run.
    """
    from narrows.audit.report.html import compare_page

    if len(runs) < 2:
        raise RequestError(f"``runs`` must be at least two runs, but got {len(runs)}.")
    opened = [run if isinstance(run, Run) else load(run) for run in runs]
    rows = []
    for run in opened:
        recipe = json.loads((run.path / "recipe.json").read_text()) | {"run": run.path.name}
        fresh = write and not (run.path / "audit.json").exists()
        rows.append((recipe, run.metrics, run.audit(write=fresh, features=False, progress=progress)))
    page = Path(out)
    page.parent.mkdir(parents=True, exist_ok=True)
    files.write(page, compare_page(rows).encode())
    return page
