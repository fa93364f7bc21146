"""Samples of a run by the priors that are stored below it, for the page of its audit."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from narrows.audit.report.finding import Gallery
from narrows.core import files, seeded
from narrows.core.check import NarrowsError
from narrows.runs.priors import PRIORS_FOLDER
from narrows.runs.recipe import Recipe

if TYPE_CHECKING:
    from narrows.audit.report.report import Report
    from narrows.runs.run import Run

__all__ = ["stored_priors", "with_samples"]

_SHOWN = 10


def stored_priors(run: Run) -> dict[str, Run]:
    """The priors that were fitted to the codes of a finished run and stored below it, by their texts."""
    import narrows as nr  # whose `load` itself needs runs

    found: dict[str, Run] = {}
    weights = run.path / "result.json"
    for folder in sorted((run.path / PRIORS_FOLDER).glob("*/")) if weights.is_file() else ():
        with suppress(NarrowsError, OSError):  # a damaged folder, or a link, is reported when it is opened
            for path in (folder.parent, folder):
                files.check_no_link(path)
            recipe, text = Recipe.read(folder), ""
            if (folder / "result.json").is_file():
                text = recipe.prior.get("text") or ""
            if text and recipe.base.get("sha256") == files.read_json(weights)["sha256"]:
                found[text] = nr.load(folder)
    return found


def with_samples(run: Run, report: Report) -> Report:
    """The report with samples of the run's own prior and of those that are stored below it, a row for each."""
    stored = {} if run.model.all_conditions else stored_priors(run)
    at = next((i for i, figure in enumerate(report.figures) if figure.name == "samples"), None)
    if not stored or at is None:
        return report
    own = report.figures[at]
    assert isinstance(own, Gallery)
    shape, rows = own.rows[0][1].shape[1:], [("none", own.rows[0][1][:_SHOWN])]
    for text, one in stored.items():
        with torch.no_grad(), seeded(0):
            drawn = one.model.sample(_SHOWN)
        if isinstance(drawn, Tensor) and drawn.shape[1:] == shape:
            rows.append((text, drawn.cpu()))
    says = "Decoded draws of the method's own prior (none) and of the priors that were fitted to the codes."
    gallery = Gallery("samplers", "Samples by prior", says, tuple(rows), panels="row", text=own.text)
    return replace(report, figures=(*report.figures[: at + 1], gallery, *report.figures[at + 1 :]))
