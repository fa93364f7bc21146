"""What an audit leaves behind: a document for programs and pages for people, beside each other."""

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
    """A short name of data that are not the run's own, as files are called after them.

    Example:
        >>> name_of("new/wine 2.csv"), name_of([[1.0]]), name_of(None)
        ('wine-2', 'data', '')
    """
    if data is None:
        return ""
    if isinstance(data, (str, Path)):
        said = Path(data).stem
    else:
        from narrows.data.dataset import Source  # needs torch, which a name of a file does not

        said = data.name if isinstance(data, Source) else ""
    return re.sub(r"[^\w.]+", "-", said).strip("-.")[:60] or "data"


def file_name(base: str, name: str) -> str:
    """What a file of an audit is called: `audit.json` on the run's own data, `audit-wine.json` on others.

    Example:
        >>> file_name("audit.json", ""), file_name("audit.json", "wine")
        ('audit.json', 'audit-wine.json')
    """
    stem, dot, ending = base.rpartition(".")
    return f"{stem}-{name}{dot}{ending}" if name else base


def write_report(run: Run, report: Report, data: Any, name: str, folder: Path, **features: Any) -> list[Path]:
    """Write the audit of a run: the document, the page, and of a sparse code the page of its features.

    Args:
        run: the run.
        report: its audit.
        data: what it was audited on; the run's own test part when None.
        name: of those data, "" for the run's own: other data are written beside, never over.
        folder: where to; it is made where it does not exist.
        features: what `Run.features` is asked for; nothing for no page of features.

    Returns:
        The files, the page last.

    Raises:
        WorkError: the folder cannot be made or written.
    """
    from narrows.audit.evidence.features import NoActiveLatents
    from narrows.audit.report.html import run_page

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WorkError(f"The folder {folder} cannot be made: {error.strerror or error}.") from error
    document, page, beside = (
        folder / file_name(f, name) for f in ("audit.json", "report.html", "features.html")
    )
    links = []
    if features and report.get("l0") is not None:
        try:
            links = [run.features(data, out=beside, report=page, **features)]
        except NoActiveLatents:
            beside.unlink(missing_ok=True)  # of an earlier state of the run
    elif beside.is_file():
        links = [beside]
    files.write(document, (json.dumps(report.to_json(), indent=2) + "\n").encode())
    recipe = json.loads((run.path / "recipe.json").read_text())
    said = [(path.name, "Look at single latents, one by one") for path in links if path is not None]
    files.write(page, run_page(report, recipe, run.metrics, said).encode())
    return [document, *(path for path in links if path is not None), page]
