"""Several runs side by side: which numbers are comparable, and which are better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import torch

from narrows.audit.report.finding import Gallery
from narrows.audit.report.report import Report, shown

__all__ = ["BETTER", "Column", "Row", "columns", "shared_galleries", "table"]

BETTER: Mapping[str, Literal["lower", "higher"]] = {
    "fvu": "lower",
    "accuracy": "higher",
    "error/median": "lower",
    "error/p99": "lower",
    "bound": "lower",
    "nll": "lower",
    "bits-per-dimension": "lower",
    "latents/dead": "lower",
    "atoms/duplicate": "lower",
    "latents/correlated": "lower",
    "mig": "higher",
    "sap": "higher",
    "dci/disentanglement": "higher",
    "dci/completeness": "higher",
    "dci/informativeness": "higher",
    "cosine": "higher",
    "recovery/mcc": "higher",
    "recovery/mean-max-cosine": "higher",
    "recovery/f1": "higher",
    "splice/recovered": "higher",
    "splice/recovered-from-mean": "higher",
    "splice/ce": "lower",
    "splice/kl": "lower",
}
"""Checks for which a direction is better for every user; a rate or an L0 is a choice."""

_LIKELIHOODS = ("bound", "nll", "bits-per-dimension")
_CLOSE = 0.01


class Column(NamedTuple):
    """One run."""

    name: str
    recipe: Mapping[str, Any]
    report: Report


class Cell(NamedTuple):
    """One number of one run."""

    text: str
    unit: str
    verdict: str
    best: bool


class Row(NamedTuple):
    """One check over all runs."""

    name: str
    says: str
    better: str
    cells: list[Cell | None]


def columns(runs: Sequence[tuple[Mapping[str, Any], Report]]) -> list[Column]:
    """The runs with distinct names: the method, then the options, the data or a number."""
    names = [report.method or "model" for _, report in runs]
    if len(set(names)) < len(names):
        names = [_with_differences(i, [recipe for recipe, _ in runs], name) for i, name in enumerate(names)]
    if len(set(names)) < len(names):
        names = [f"{name} on {report.data}" for name, (_, report) in zip(names, runs, strict=True)]
    if len(set(names)) < len(names):
        names = [f"{number}. {name}" for number, name in enumerate(names, start=1)]
    return [Column(name, recipe, report) for name, (recipe, report) in zip(names, runs, strict=True)]


def _with_differences(which: int, recipes: Sequence[Mapping[str, Any]], name: str) -> str:
    """The method's name with the arguments in which the runs differ."""
    arguments = [dict(recipe.get("arguments") or {}) for recipe in recipes]
    keys = [key for a in arguments for key in a]
    differ = [key for key in dict.fromkeys(keys) if len({str(a.get(key)) for a in arguments}) > 1]
    differences = [f"{key} {arguments[which][key]}" for key in differ if key in arguments[which]]
    return f"{name}, {', '.join(differences)}" if differences else name


def table(compared: Sequence[Column]) -> tuple[list[Row], list[str]]:
    """The rows of the comparison, and warnings about what is not comparable."""
    warnings = []
    same_data = (
        len({(column.report.data, str(column.report.parameters.get("shape"))) for column in compared}) == 1
    )
    same_rows = (
        len({(str(column.report.parameters.get(k)), k) for column in compared for k in ("examples", "seed")})
        == 2
    )
    same_likelihood = len({column.report.parameters.get("likelihood") for column in compared}) == 1
    if not same_data:
        warnings.append("These runs used different data: no number is marked as better.")
    elif not same_rows:
        warnings.append("These audits used different examples: no number is marked as better.")
    elif not same_likelihood:
        warnings.append(
            "These runs have different likelihoods: their nats are not marked as better or worse."
        )
    rows = []
    for name in dict.fromkeys(c.name for column in compared for c in column.report.checks):
        if name.startswith("latent/"):
            continue
        better: str = BETTER.get(name, "")
        if not (same_data and same_rows) or (name in _LIKELIHOODS and not same_likelihood):
            better = ""
        rows.append(_row(name, better, compared))
    return rows, warnings


def _row(name: str, better: str, compared: Sequence[Column]) -> Row:
    checks = [column.report.get(name) for column in compared]
    values = [c.value for c in checks if c is not None and isinstance(c.value, (int, float))]
    best: float | None = None
    units = {c.unit for c in checks if c is not None}
    if better and len(values) > 1 and len(units) == 1:
        best = min(values) if better == "lower" else max(values)
        spread = max(values) - min(values)
        if spread <= _CLOSE * max(abs(v) for v in values):
            best = None  # the difference is too small
    cells = [
        None if c is None else Cell(shown(c.value), c.unit, c.verdict, best is not None and c.value == best)
        for c in checks
    ]
    says = next((c.says for c in checks if c is not None), "") if len(compared) == 1 else ""
    return Row(name, says, better, cells)


def shared_galleries(compared: Sequence[Column]) -> list[Gallery]:
    """Reconstructions of the same examples, worst cases and samples, one row for each run."""
    made = []
    for name, title, says in (
        ("reconstructions", "Reconstructions", "The same examples, and their reconstructions by each run."),
        ("worst", "Worst cases", "The examples that each run reconstructs worst."),
        ("samples", "Samples", "New examples from the prior of each run."),
    ):
        rows: list[tuple[str, torch.Tensor]] = []
        text = None
        for column in compared:
            gallery = next(
                (f for f in column.report.figures if isinstance(f, Gallery) and f.name == name), None
            )
            text = text if gallery is None else gallery.text
            for label, shown_rows in gallery.rows[:3] if gallery is not None else ():
                if name == "samples":
                    rows.append((column.name, shown_rows))
                    break
                known = any(_same(old, shown_rows) for _, old in rows)
                if not known:
                    mine = (
                        label
                        if label in ("original", "target", "visible") and name != "worst"
                        else f"{column.name}, {label}"
                    )
                    rows.append((column.name if label == "reconstruction" else mine, shown_rows))
        made.extend(_by_shape(Gallery(name, title, says, tuple(rows), text=text)))
    return made


def _same(old: torch.Tensor, new: torch.Tensor) -> bool:
    return torch.equal(old.nan_to_num(), new.nan_to_num())  # NaN where nothing is known


def _by_shape(gallery: Gallery) -> list[Gallery]:
    """One gallery for each shape of example, so that only examples of one shape share a scale."""
    shapes = dict.fromkeys(tuple(shown_rows.shape[1:]) for _, shown_rows in gallery.rows)
    return [
        replace(gallery, rows=tuple(row for row in gallery.rows if tuple(row[1].shape[1:]) == shape))
        for shape in shapes
    ]
