"""The goal `compress`: bits of a cell."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from narrows.core.columns import LEVELS, columns_of
from narrows.tournament.exam import Exam
from narrows.tournament.goals.goal import Goal

if TYPE_CHECKING:
    from narrows.runs.run import Run

__all__ = ["COMPRESS"]

_SAMPLES = 50
_SMOOTHING = 0.5


def _bits(run: Run, exam: Exam) -> Tensor:
    """-log2 p of the observed cells of each row, (N,)."""
    nats = run.score(exam.seen_by(run), kind="nll", samples=_SAMPLES, seed=exam.seed)
    return torch.from_numpy(nats).double() / math.log(2)


def _score(exam: Exam, answer: Tensor, rows: Tensor) -> float:
    cells = (~exam.known.isnan()).flatten(1).sum(1)
    return float(answer[rows].sum() / cells[rows].sum())


def _details(exam: Exam, answer: Tensor) -> Mapping[str, float]:
    return {"bits of a row": float(answer.mean())}


def _columns(exam: Exam) -> Tensor:
    """Each column by its own frequencies, smoothed over all values of its grid."""
    bits = torch.zeros(len(exam.rows), dtype=torch.double)
    parts = list(columns_of(exam.source.spec).values())
    for place, part in enumerate(parts):
        train, rows = exam.learned[:, place], exam.known[:, place]
        values, counts = train[~train.isnan()].unique(return_counts=True)
        column = part.column
        if part.values in LEVELS:
            places = part.classes
        elif part.values == "binary" or column is None or not column.resolution:
            places = max(2, len(values))
        else:
            places = max(len(values), round((column.high - column.low) / column.resolution) + 1)
        found = torch.searchsorted(values, rows.contiguous()).clamp_max(len(values) - 1)
        seen = torch.where(values[found] == rows, counts[found], 0).double()
        p = (seen + _SMOOTHING) / (counts.sum() + _SMOOTHING * places)
        bits += torch.where(rows.isnan(), 0, -p.log2())
    return bits


COMPRESS = Goal(
    "compress",
    "bits of a cell",
    "The mean of -log2 p over the observed cells of held-out rows, by importance sampling: the length of an ideal code "
    "for them.",
    ("table",),
    _bits,
    _score,
    _details,
    {"independent columns": _columns},
    "narrows score {run} DATA --kind nll --out nats.csv",
)
