"""Tables and arrays with missing values: the errors of reconstructed and of imputed values."""

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
"""Rows that are imputed, and codes drawn for each; column means use four times as many training rows."""

_COLUMNS = 40
"""Errors are listed by column for tables of at most this many columns."""


_COMPARED = (
    ("rmse", "Of hidden numbers", "mean", "The error of imputation by the column's mean."),
    (
        "accuracy",
        "Of hidden categories",
        "most-frequent",
        "The accuracy of the column's most frequent category.",
    ),
    ("displacement", "Of hidden ordinal cells, distance of levels over their number", "", ""),
)
"""The measures of imputed cells, with those of imputation by means and modes."""


def table(view: View) -> Finding:
    """The error of reconstructed cells of tables, and of imputed values if the true ones are known."""
    likelihood, x = view.model.likelihood, view.batch.target
    if not isinstance(likelihood, MixedTable):
        return _of_arrays(view)
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
                "Root mean square error of numbers over their standard deviation, mean over columns.",
            ),
            ("accuracy", errors.mean_accuracy, "Share of correct categories, mean over columns."),
        )
        if not math.isnan(value)
    ]
    return Finding((*checks, *_imputed(view, likelihood, means, ~observed)))


def _of_arrays(view: View) -> Finding:
    """The error of imputed values of arrays, beside that of the mean of each element."""
    rows = slice(0, _ROWS // 4)
    if view.hidden is None or view.weight is None:
        return Finding()
    truth, observed = view.hidden[rows], (view.weight != 0).expand_as(view.batch.target)
    hidden = ~observed[rows] & ~truth.isnan()
    if not hidden.any():
        return Finding()
    count = observed.sum(0).clamp_min(1)
    means = torch.where(observed, view.batch.target, 0).sum(0) / count
    found = impute(view.model, view.batch[rows].to(device_of(view.model)), _SAMPLES, seed=view.seed)
    error, chance = (
        float((cells - truth)[hidden].square().mean().sqrt())
        for cells in (found.cells.cpu(), means.expand_as(truth))
    )
    says = f"Of hidden values of scaled data; that of the mean of each element of an example: {chance:.3g}."
    return Finding((_judged("rmse", error, chance, error < chance, says),))


def _means(view: View, likelihood: MixedTable, observed: Tensor) -> ColumnMeans:
    """Column means of training rows, or of the examined rows if the training rows are unknown."""
    if view.train is None:
        return ColumnMeans.of(view.batch.target, observed, likelihood.columns)
    some = torch.arange(0, len(view.train), max(1, len(view.train) // (4 * _ROWS)))
    batch = view.train.batch(some)
    present = batch.condition.get("observed", torch.ones_like(batch.x, dtype=torch.bool))
    return ColumnMeans.of(batch.x, present, likelihood.columns)


def _imputed(view: View, likelihood: MixedTable, means: ColumnMeans, missing: Tensor) -> list[Check]:
    """The error of imputed cells, and of imputation by column means."""
    if view.hidden is None:
        return []
    rows = slice(0, _ROWS)
    truth = view.hidden[rows]
    evaluated = missing[rows] & ~truth.isnan()
    if not evaluated.any():
        return []
    found = impute(view.model, view.batch[rows].to(device_of(view.model)), _SAMPLES, seed=view.seed)
    columns, deviation = likelihood.columns, means.deviation
    errors = imputation_errors(found.cells.cpu(), truth, evaluated, columns, deviation)
    baseline = imputation_errors(means.cells.expand_as(truth), truth, evaluated, columns, deviation)
    note = f"{_SAMPLES} codes a row, with a median effective sample size of {float(found.ess.median()):.0f}."
    if found.ess.isnan().all():
        note = "the decoded mean of one code a row, since the code has no posterior."
    checks = []
    for name, says, rival, of_rival in _COMPARED:
        value, chance = (float(getattr(one, f"mean_{name}")) for one in (errors, baseline))
        if math.isnan(value):
            continue
        better = value > chance if name == "accuracy" else value < chance
        checks.append(_judged(name, value, chance, better, f"{says}; {note}"))
        if rival:
            checks.append(Check(f"imputation/{rival}", chance, "", says=of_rival))
    return checks + _by_column(likelihood, errors, baseline)


def _judged(name: str, value: float, chance: float, better: bool, says: str) -> Check:
    worse = "" if better else " That is no better than a mean or mode: train longer, or use fewer columns."
    return Check(f"imputation/{name}", value, "", "ok" if better else "bad", says + worse, chance)


def _by_column(likelihood: MixedTable, errors: Errors, baseline: Errors) -> list[Check]:
    """The error of each column."""
    columns, names = likelihood.columns, likelihood.names
    if len(names) > _COLUMNS:
        return []
    others = [*columns.binary, *(column for column, _ in columns.categories)]
    listed = [
        (p, "rmse", "mean", o, m) for p, o, m in zip(columns.real, errors.rmse, baseline.rmse, strict=True)
    ]
    listed += [
        (p, "accuracy", "most frequent category", o, m)
        for p, o, m in zip(others, errors.accuracy, baseline.accuracy, strict=True)
    ]
    return [
        Check(
            f"imputation/{kind}/{names[p]}",
            float(o),
            "",
            says=f"With the column's {reference}: {float(m):.3g}.",
            chance=None if m.isnan() else float(m),
        )
        for p, kind, reference, o, m in listed
        if not o.isnan()
    ]
