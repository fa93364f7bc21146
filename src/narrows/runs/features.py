"""`features`: the page of the latents of a run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from narrows.audit.evidence.features import COUNT, Features, collect
from narrows.core import files

if TYPE_CHECKING:
    from narrows.audit.evidence.passing import Streamed
    from narrows.runs.run import Run

__all__ = ["PAGE", "write_features"]

PAGE = "features.html"


def write_features(
    run: Run,
    data: Any = None,
    *,
    out: Path | None = None,
    count: int = COUNT,
    examples: int | None = None,
    latents: Sequence[int] = (),
    seed: int = 0,
    report: Path | None = None,
    streamed: Streamed | None = None,
    progress: Any = None,
) -> Features | None:
    """Write the page of the latents of a sparse code; None, and no page, if the code is not sparse.

    Args:
        run: the run.
        data: a `Dataset` of examples; the test split of the run if None.
        out: path of the page; ``features.html`` in the run folder if None.
        count: number of latents that are shown.
        examples: largest number of examples that are encoded; by default 200,000, of the test split and then of the
            training data, for counts, and the first 50,000 of the test split for examples.
        latents: indices of the latents to show, instead of a selection.
        seed: seed of the random draws.
        report: path of the report that the page links to; the run's own if None.
        streamed: the pass of an audit over the same data, which then is not repeated.
        progress: a `narrows.core.progress.Progress`, or None.
    """
    dataset = run.data.test if data is None else data
    how: dict[str, Any] = {"count": count, "examples": examples, "latents": latents, "seed": seed}
    how |= {"train": run.data.train if data is None else None, "streamed": streamed}
    found = collect(run.model, dataset, **how, advance=_Advance(progress))
    if found is None:
        return None
    from narrows.audit.report.feature_page import feature_page

    page = run.path / PAGE if out is None else out
    page.parent.mkdir(parents=True, exist_ok=True)
    home = run.path / "report.html" if report is None else report
    linked = page.parent == home.parent or home.exists()
    back = Path(os.path.relpath(home, page.parent)).as_posix() if linked else ""
    text = feature_page(found, method=run.method, data=run.recipe.data_name, report=back)
    files.write(page, text.encode())
    return found


class _Advance:
    """Begins a progress bar when the first chunk of a pass is finished."""

    def __init__(self, progress: Any) -> None:
        self.progress, self.total = progress, 0

    def __call__(self, done: int, total: int) -> None:
        if self.progress is None:
            return
        if total != self.total:
            self.progress.begin("Reading features", total, what="rows")
            self.total = total
        self.progress.advance(done)
