"""Tables with missing cells: how well cells come back, and how well hidden ones are filled in."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from narrows.audit.evidence.imputation import impute
from narrows.audit.evidence.view import View, device_of
from narrows.audit.metrics.imputation import ColumnMeans, Errors, imputation_errors
from narrows.audit.report.finding import Check, Finding
from narrows.likelihoods.table import MixedTable

__all__ = ["table"]

_ROWS, _SAMPLES = 2000, 200
"""Rows that are filled, and codes drawn for each; training rows that column means are taken of, four times as many."""

_COLUMNS = 40
"""Single columns are listed of tables that have no more than so many."""


def table(view: View) -> Finding:
    """The error of reconstructed cells, and of imputed ones where cells were hidden and their truth is known."""
    likelihood, x = view.model.likelihood, view.batch.target
    if not isinstance(likelihood, MixedTable):
        return Finding()
    observed = (
        torch.ones_like(x, dtype=torch.bool) if view.weight is None else (view.weight != 0).expand_as(x)
    )
    means = _means(view, likelihood, observed)
    errors = imputation_errors(view.output, x, observed, likelihood.columns, means.deviation)
    checks = [
        Check(f"reconstruction/{name}", value, "", says=says)
        for name, value, says in (
            (
                "rmse",
                errors.mean_rmse,
                "Root mean square error of numbers over their deviation, mean over columns.",
            ),
            ("accuracy", errors.mean_accuracy, "Share of right categories, mean over columns."),
        )
        if not math.isnan(value)
    ]
    return Finding((*checks, *_imputed(view, likelihood, means, ~observed)))


def _means(view: View, likelihood: MixedTable, observed: Tensor) -> ColumnMeans:
    """Column means of training rows, or of the rows examined where those are not known."""
    if view.train is None:
        return ColumnMeans.of(view.batch.target, observed, likelihood.columns)
    some = torch.arange(0, len(view.train), max(1, len(view.train) // (4 * _ROWS)))
    batch = view.train.batch(some)
    seen = batch.condition.get("observed", torch.ones_like(batch.x, dtype=torch.bool))
    return ColumnMeans.of(batch.x, seen, likelihood.columns)


def _imputed(view: View, likelihood: MixedTable, means: ColumnMeans, missing: Tensor) -> list[Check]:
    """The error of imputed cells beside that of column means."""
    if view.hidden is None or view.rate is None:
        return []
    rows = slice(0, _ROWS)
    truth = view.hidden[rows]
    asked = missing[rows] & ~truth.isnan()
    if not asked.any():
        return []
    found = impute(view.model, view.batch[rows].to(device_of(view.model)), _SAMPLES, seed=view.seed)
    columns, deviation = likelihood.columns, means.deviation
    ours = imputation_errors(found.cells.cpu(), truth, asked, columns, deviation)
    plain = imputation_errors(means.cells.expand_as(truth), truth, asked, columns, deviation)
    unsure = f"{_SAMPLES} codes a row, of which {float(found.ess.median()):.0f} count in the middle row."
    checks = []
    if not math.isnan(ours.mean_rmse):
        checks += [
            _judged("rmse", ours.mean_rmse, ours.mean_rmse < plain.mean_rmse, f"Of hidden numbers; {unsure}"),
            Check("imputation/mean", plain.mean_rmse, "", says="What the column's mean reaches there."),
        ]
    if not math.isnan(ours.mean_accuracy):
        better = ours.mean_accuracy > plain.mean_accuracy
        most = "What the most frequent category of the column reaches there."
        checks += [
            _judged("accuracy", ours.mean_accuracy, better, f"Of hidden categories; {unsure}"),
            Check("imputation/most-frequent", plain.mean_accuracy, "", says=most),
        ]
    return checks + _by_column(likelihood, ours, plain)


def _judged(name: str, value: float, better: bool, says: str) -> Check:
    worse = (
        ""
        if better
        else " That is no better than the column by itself: train longer, or look at fewer columns."
    )
    return Check(f"imputation/{name}", value, "", "ok" if better else "bad", says + worse)


def _by_column(likelihood: MixedTable, ours: Errors, plain: Errors) -> list[Check]:
    """Each column's own error."""
    columns, names = likelihood.columns, likelihood.names
    if len(names) > _COLUMNS:
        return []
    others = [*columns.binary, *(place for place, _ in columns.categories)]
    listed = [(p, "rmse", "mean", o, m) for p, o, m in zip(columns.real, ours.rmse, plain.rmse, strict=True)]
    listed += [
        (p, "accuracy", "most frequent category", o, m)
        for p, o, m in zip(others, ours.accuracy, plain.accuracy, strict=True)
    ]
    return [
        Check(
            f"imputation/{kind}/{names[p]}",
            float(o),
            "",
            says=f"The column's {plainly} reaches {float(m):.3g}.",
        )
        for p, kind, plainly, o, m in listed
        if not o.isnan()
    ]
