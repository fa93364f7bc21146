"""The files of an audit: the results as JSON, and HTML pages."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from narrows.core import files
from narrows.core.check import WorkError

if TYPE_CHECKING:
    from narrows.audit import Report
    from narrows.runs.run import Run

__all__ = ["file_name", "name_of", "write_report"]


def name_of(data: Any) -> str:
    """A short name of data other than the run's own, for names of files.

    Example:
        >>> name_of("new/wine 2.csv"), name_of([[1.0]]), name_of(None)
        ('wine-2', 'data', '')
    """
    if data is None:
        return ""
    if isinstance(data, (str, Path)):
        text = Path(data).stem
    else:
        from narrows.data.dataset import Source  # imports torch, which a path does not need

        text = data.name if isinstance(data, Source) else ""
    return re.sub(r"[^\w.]+", "-", text).strip("-.")[:60] or "data"


def file_name(base: str, name: str) -> str:
    """The name of a file of an audit: `audit.json` for the run's own data, `audit-wine.json` for others.

    Example:
        >>> file_name("audit.json", ""), file_name("audit.json", "wine")
        ('audit.json', 'audit-wine.json')
    """
    stem, dot, ending = base.rpartition(".")
    return f"{stem}-{name}{dot}{ending}" if name else base


def write_report(run: Run, report: Report, data: Any, name: str, folder: Path, **features: Any) -> list[Path]:
    """Write the audit of a run: JSON, the report, and for a sparse code the page of its latents.

    Args:
        run: the run.
        report: its audit.
        data: the data of the audit; the test split of the run if None.
        name: name of the data; empty for the run's own.
        folder: destination, which is created if it does not exist.
        features: arguments of `Run.features`; no page of latents if empty.

    Returns:
        The files, the report last.

    Raises:
        WorkError: the folder cannot be created or written.
    """
    from narrows.audit.evidence.features import NoActiveLatents
    from narrows.audit.report.html import run_page

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WorkError(f"The folder {folder} cannot be created: {error.strerror or error}.") from error
    document, page, features_page = (
        folder / file_name(f, name) for f in ("audit.json", "report.html", "features.html")
    )
    links = []
    if features and report.get("l0") is not None:
        try:
            links = [run.features(data, out=features_page, report=page, streamed=report.streamed, **features)]
        except NoActiveLatents:
            features_page.unlink(missing_ok=True)  # from an earlier audit
    elif features_page.is_file():
        links = [features_page]
    files.write(document, (json.dumps(report.document(), indent=2) + "\n").encode())
    recipe = run.recipe.form()
    pages = [(path.name, "Single latents") for path in links if path is not None]
    files.write(page, run_page(report, recipe, run.metrics, pages).encode())
    return [document, *(path for path in links if path is not None), page]
