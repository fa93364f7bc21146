"""`audit`: all checks on a run, and the files of their results."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from narrows.audit import Report
from narrows.audit import audit as audit_model
from narrows.runs.provenance import compared
from narrows.runs.reports import name_of, write_report
from narrows.runs.samplers import with_samples
from narrows.runs.verbs.texts import texts

if TYPE_CHECKING:
    from narrows.runs.run import Run

__all__ = ["audit"]


def audit(
    run: Run,
    data: Any,
    *,
    name: str,
    write: bool,
    out: str | Path | None,
    features: bool,
    force: bool,
    progress: Any,
    **options: Any,
) -> Report:
    """Run all checks of the audit, on the test split or on other data: see `narrows.runs.run.Run.audit`.

    Raises:
        RequestError: the data are a harvest of another model, hook point or tokenizer.
    """
    name = name_of(data if data is None else name or data)
    report = audit_model(
        run.model,
        compared(run, data, force),
        method=run.method,
        data_name=name or run.recipe.data_name,
        progress=progress,
        history=run.metrics,
        train=run.data.train if data is None else None,
        text=(lambda tokens: texts(run, tokens.numpy())) if run.recipe.spec.kind == "tokens" else None,
        **options,
    )
    report = with_samples(run, report) if data is None else report
    if write:
        shown: dict[str, Any] = {"progress": progress} if features else {}
        write_report(run, report, data, name, run.path if out is None else Path(out), **shown)
    return report
