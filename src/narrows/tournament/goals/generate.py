"""The goal `generate`: samples like the data."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from narrows.audit.metrics.frechet import Features, classifier_features, frechet, principal_features
from narrows.audit.metrics.generation import nearest_distances, support
from narrows.core import seeded
from narrows.tournament.exam import Exam
from narrows.tournament.goals.goal import Goal
from narrows.tournament.normal import Normal

if TYPE_CHECKING:
    from narrows.runs.run import Run

__all__ = ["GENERATE"]

_TRAIN, _SUPPORT, _CHUNK, _CLASSES = 5000, 1000, 500, 100
_NEAR = 0.05
"""The quantile of the distances of held-out rows from training rows below which a sample is near to one."""


@torch.no_grad()
def _samples(run: Run, exam: Exam) -> Tensor:
    """As many samples as rows, in the units of the data; rows of tables are drawn from the likelihood."""
    with seeded(exam.seed):
        n = len(exam.rows)
        sizes = [min(_CHUNK, n - first) for first in range(0, n, _CHUNK)]
        parts = [run.model.sample(size, {}, exam.kind == "table") for size in sizes]
    return exam.units(run, torch.cat([part for part in parts if isinstance(part, Tensor)]))


def _filled(exam: Exam, x: Tensor) -> Tensor:
    """Vectors with the training mean in place of missing entries."""
    vectors, there = exam.space.vectors(x)
    if bool(there.all()):
        return vectors
    learned, known = exam.space.vectors(exam.learned)
    return torch.where(there, vectors, learned.sum(0) / known.sum(0).clamp_min(1))


@lru_cache(maxsize=1)
def _features(exam: Exam) -> Features:
    """The features of an exam, which are fitted once."""
    x, labels = _filled(exam, exam.learned[:_TRAIN]).float(), exam.train.labels
    with torch.enable_grad():
        if exam.kind != "image" or labels is None or not 2 <= exam.source.spec.classes <= _CLASSES:
            return principal_features(x)
        return classifier_features(x, labels[:_TRAIN])


def _look(exam: Exam, x: Tensor) -> Tensor:
    return _features(exam)(_filled(exam, x).float()).double()


def _score(exam: Exam, answer: Tensor, rows: Tensor) -> float:
    return frechet(_look(exam, answer[rows]), _look(exam, exam.known[rows]))


def _details(exam: Exam, answer: Tensor) -> Mapping[str, float]:
    made, real = _look(exam, answer)[:_SUPPORT], _look(exam, exam.known)[:_SUPPORT]
    train = _look(exam, exam.learned[:_TRAIN])
    k = min(5, len(real) - 1)
    found = support(made, real, k)
    usual = nearest_distances(real, train)[0].quantile(_NEAR)
    copies = float((nearest_distances(made, train)[0] < usual).double().mean())
    return {"precision": found.precision, "recall": found.recall, "nearer to training rows than 95 %": copies}


def _normal(exam: Exam) -> Tensor:
    drawn = Normal.of(*exam.space.vectors(exam.learned)).draw(len(exam.rows), exam.seed)
    return exam.space.examples(drawn, exam.known.shape[1:])


def _columns(exam: Exam) -> Tensor:
    """Each element drawn from the training rows, independently of the others."""
    x = exam.learned.flatten(1)
    generator = torch.Generator().manual_seed(exam.seed)
    drawn = []
    for column in x.T:
        known = column[~column.isnan()]
        drawn.append(known[torch.randint(len(known), (len(exam.rows),), generator=generator)])
    return torch.stack(drawn, 1).reshape(len(exam.rows), *exam.known.shape[1:])


GENERATE = Goal(
    "generate",
    "Frechet distance",
    "The Frechet distance of samples from held-out rows, on features of a small classifier if the data are images with "
    "labels, else on principal components. Also, of samples: precision, recall, and the share that is nearer to a "
    "training row than 95 % of held-out rows are, 0.05 without leakage.",
    ("table", "vector", "image", "series"),
    _samples,
    _score,
    _details,
    {"independent columns": _columns, "normal distribution": _normal},
    "narrows sample {run} --n 1000 --out samples.npz",
    ("independent columns", "normal distribution"),
)
