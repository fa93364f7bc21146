"""Goals on single cells: imputation of hidden ones, and reconstruction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from narrows.audit.metrics.imputation import ColumnMeans, Errors, imputation_errors
from narrows.core.columns import Columns
from narrows.data.holes import HIDDEN
from narrows.kernels.principal import principal
from narrows.runs.verbs.imputed import How, completions
from narrows.tournament.exam import Exam
from narrows.tournament.goals.goal import Goal
from narrows.tournament.normal import Normal

if TYPE_CHECKING:
    from narrows.runs.run import Run

__all__ = ["IMPUTE", "RECONSTRUCT"]

_SAMPLES = 50
"""Codes drawn for each row."""


def _imputed(run: Run, exam: Exam) -> Tensor:
    """All cells, imputed or not, in the units of the data."""
    how = How(_SAMPLES, 0, exam.seed, 0, None)
    rows = np.arange(len(exam.rows))
    found = torch.cat([some.cells for _, some in completions(run, exam.seen_by(run), rows, how, _SAMPLES)])
    return exam.units(run, found)


def _hidden(exam: Exam) -> tuple[Tensor, Tensor]:
    """The true cells, and which of them were hidden."""
    truth = exam.rows.columns[HIDDEN]
    assert isinstance(truth, Tensor)
    return truth.double(), exam.known.isnan() & ~truth.isnan()


def _errors(exam: Exam, answer: Tensor, truth: Tensor, counted: Tensor, rows: Tensor) -> Errors:
    columns = Columns.of(exam.source.spec)
    return imputation_errors(answer[rows], truth[rows], counted[rows], columns, exam.space.deviation)


def _mean(found: Errors) -> float:
    """The mean over all columns: of numbers the error in deviations, of others the share of wrong cells."""
    return float(torch.cat([found.rmse, 1 - found.accuracy]).nanmean())


def _impute_score(exam: Exam, answer: Tensor, rows: Tensor) -> float:
    return _mean(_errors(exam, answer, *_hidden(exam), rows))


def _both(found: Errors) -> dict[str, float]:
    numbers = {"error of numbers": found.mean_rmse, "accuracy of levels": found.mean_accuracy}
    return {name: value for name, value in numbers.items() if value == value}


def _impute_details(exam: Exam, answer: Tensor) -> Mapping[str, float]:
    return _both(_errors(exam, answer, *_hidden(exam), torch.arange(len(answer))))


def _column_means(exam: Exam) -> Tensor:
    x = exam.learned
    found = ColumnMeans.of(x, ~x.isnan(), Columns.of(exam.source.spec)).cells.double()
    return torch.where(exam.known.isnan(), found, exam.known)


def _conditional_means(exam: Exam) -> Tensor:
    x, there = exam.space.vectors(exam.known)
    full = Normal.of(*exam.space.vectors(exam.learned)).complete(x, there)
    return torch.where(exam.known.isnan(), exam.space.examples(full, exam.rows.shape), exam.known)


IMPUTE = Goal(
    "impute",
    "error of hidden cells",
    "The mean over columns of the error of cells that were hidden: of numbers the root mean square error in standard "
    "deviations of the column, of levels the share of wrong ones.",
    ("table",),
    _imputed,
    _impute_score,
    _impute_details,
    {"column mean": _column_means, "normal distribution": _conditional_means},
    "narrows impute {run} FILE --out full.csv",
)


@torch.no_grad()
def _reconstructed(run: Run, exam: Exam) -> Tensor:
    """Reconstructions in the units of the data."""
    parts = run._over(exam.seen_by(run), run.model.reconstruct, None, "Reconstructing")
    return exam.units(run, torch.cat(list(parts)))


def _reconstruct_score(exam: Exam, answer: Tensor, rows: Tensor) -> float:
    if exam.kind == "table":
        return _mean(_errors(exam, answer, exam.known, ~exam.known.isnan(), rows))
    space, x = exam.space, exam.known.flatten(1)[rows]
    lost = ((answer.flatten(1)[rows] - x) / space.deviation).square().nansum()
    centre = exam.learned.flatten(1).nanmean(0)
    return float(lost / ((x - centre) / space.deviation).square().nansum())


def _reconstruct_details(exam: Exam, answer: Tensor) -> Mapping[str, float]:
    if exam.kind != "table":
        return {}
    return _both(_errors(exam, answer, exam.known, ~exam.known.isnan(), torch.arange(len(answer))))


def _pca(exam: Exam) -> Tensor:
    """Principal components, as many as the codes of the candidates have dimensions."""
    filled = []
    mean: Tensor | None = None
    for x in (exam.learned, exam.known):
        vectors, there = exam.space.vectors(x)
        mean = (vectors.sum(0) / there.sum(0).clamp_min(1)) if mean is None else mean
        filled.append(torch.where(there, vectors, mean))
    back = principal(filled[0], exam.width).project(filled[1])
    return exam.space.examples(back, exam.known.shape[1:])


def _means(exam: Exam) -> Tensor:
    """The mean of each element; of a table the mean or mode of each column."""
    if exam.kind == "table":
        x = exam.learned
        found = ColumnMeans.of(x, ~x.isnan(), Columns.of(exam.source.spec)).cells.double()
    else:
        found = exam.learned.nanmean(0)
    return found.expand(exam.known.shape)


RECONSTRUCT = Goal(
    "reconstruct",
    "error of reconstructions",
    "From codes of equal width: of arrays the fraction of variance unexplained, numbers in standard deviations; of "
    "tables the mean over columns of the error of numbers in deviations and of the share of wrong levels.",
    ("table", "vector", "image", "series"),
    _reconstructed,
    _reconstruct_score,
    _reconstruct_details,
    {"mean": _means, "PCA": _pca},
    "narrows encode {run} DATA --out codes.npz",
)
