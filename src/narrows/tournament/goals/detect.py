"""The goal `detect`: anomalies among rows, by labels or planted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from narrows.audit.metrics.maps import average_precision
from narrows.audit.metrics.probing import auc
from narrows.core import seeded
from narrows.core.check import optional
from narrows.core.columns import Columns
from narrows.data.stores import Ragged
from narrows.kernels.kmeans import kmeans
from narrows.tournament.exam import Exam
from narrows.tournament.goals.goal import Goal
from narrows.tournament.normal import Normal

if TYPE_CHECKING:
    from narrows.runs.run import Run

__all__ = ["DETECT", "PLANTED", "judged_rows"]

PLANTED = ("local", "global", "cluster", "dependency")
"""The kinds of planted anomalies, in equal numbers."""

_SAMPLES, _LEAST, _FAR = 16, 5, 5.0
_FIT, _COMPONENTS = 5000, 5


def judged_rows(exam: Exam) -> Exam:
    """The exam with anomalies among its rows, whose labels are 1 for an anomaly and 2 to 5 for the planted kinds.

    Labels of two classes are used if they are there: the rarer class of the training rows is the anomalies. Otherwise
    anomalies of four kinds are planted, as many in all as there are rows.
    """
    labels, trained = exam.rows.labels, exam.train.labels
    if labels is not None and trained is not None and exam.source.spec.classes == 2:
        rare = int(trained.bincount(minlength=2).argmin())
        odd = labels == rare
        if min(int(odd.sum()), int((~odd).sum())) >= _LEAST:
            return replace(exam, rows=replace(exam.rows, labels=odd.long()))
    each = max(1, len(exam.rows) // len(PLANTED))
    made = torch.cat([plant(kind, exam, each) for kind in PLANTED])
    kinds = torch.arange(2, 2 + len(PLANTED)).repeat_interleave(each)
    x = _with_rows(exam.rows.x, made)
    marks = torch.cat([torch.zeros(len(exam.rows), dtype=torch.long), kinds])
    return replace(exam, rows=replace(exam.rows, x=x, labels=marks, columns={}, factors=None, weight=None))


def _with_rows(x: Any, made: Tensor) -> Any:
    """Stored rows, followed by others."""
    if isinstance(x, Ragged):
        values = torch.cat([x.values, made.flatten(0, 1).to(x.values.dtype)])
        return Ragged(
            values, torch.cat([x.ends, x.ends[-1] + made.shape[1] * torch.arange(1, len(made) + 1)])
        )
    assert isinstance(x, Tensor)
    return torch.cat([x.double(), made]).to(x.dtype)


def plant(kind: str, exam: Exam, n: int) -> Tensor:
    r"""Anomalies of a kind, (n, *shape) in the units of the data, made from the training rows.

    ``local``: from a mixture of normal distributions fitted to the standardised numbers, with five times its
    covariances; ``cluster``: with five times its means. ``global``: each column uniformly over its range and a tenth
    beyond, or any of its levels. ``dependency``: each column of another row. For ``local`` and ``cluster``, levels are
    those of a training row.

    Args:
        kind: one of `PLANTED`.
        exam: the rows.
        n: how many.

    Reference:
        Han et al., ADBench, 2022, section 3.2. arXiv:2206.09426
    """
    generator = torch.Generator().manual_seed(exam.seed + 1000 * (1 + PLANTED.index(kind)))
    x = exam.learned.flatten(1)
    base = x[torch.randint(len(x), (n,), generator=generator)].clone()
    numbers = _numbers(exam)
    if kind == "dependency":
        for column in range(x.shape[1]):
            base[:, column] = x[torch.randint(len(x), (n,), generator=generator), column]
    elif kind == "global":
        for column in range(x.shape[1]):
            known = x[~x[:, column].isnan(), column]
            low, high = float(known.min()), float(known.max())
            drawn = torch.rand(n, generator=generator, dtype=torch.double)
            margin = 0.1 * (high - low) if column in numbers else 0.0
            uniform = low - margin + drawn * (high - low + 2 * margin)
            base[:, column] = uniform if column in numbers else uniform.round()
    else:
        factors = (1.0, _FAR) if kind == "local" else (_FAR, 1.0)
        base[:, numbers] = _mixture(exam, n, numbers, generator, *factors)
    return base.reshape(n, *exam.learned.shape[1:])


def _numbers(exam: Exam) -> list[int]:
    if exam.kind != "table":
        return list(range(exam.learned[0].numel()))
    return list(Columns.of(exam.source.spec).real)


def _mixture(
    exam: Exam, n: int, numbers: list[int], generator: torch.Generator, means: float, covariances: float
) -> Tensor:
    """Draws from a mixture of normal distributions whose means and covariances are multiplied, (n, len(numbers))."""
    x = exam.learned.flatten(1)[:_FIT, numbers]
    mean, deviation = exam.space.mean[numbers], exam.space.deviation[numbers]
    z = torch.where(x.isnan(), 0, (x - mean) / deviation)
    with seeded(exam.seed):
        centres, _ = kmeans(z, min(_COMPONENTS, len(z)))
    own = torch.cdist(z, centres).argmin(1)
    picked = own[torch.randint(len(z), (n,), generator=generator)]
    noise = torch.randn(n, len(numbers), generator=generator, dtype=torch.double)
    made = torch.zeros_like(noise)
    for cluster in picked.unique():
        rows = z[own == cluster]
        normal = Normal.of(rows, torch.ones_like(rows, dtype=torch.bool))
        here = picked == cluster
        root = torch.linalg.cholesky(covariances * normal.covariance)
        made[here] = means * normal.mean + noise[here] @ root.T
    return made * deviation + mean


def _scores(run: Run, exam: Exam) -> Tensor:
    return torch.from_numpy(run.score(exam.seen_by(run), samples=_SAMPLES, seed=exam.seed)).double()


def _marks(exam: Exam) -> Tensor:
    assert exam.rows.labels is not None
    return exam.rows.labels


def _score(exam: Exam, answer: Tensor, rows: Tensor) -> float:
    marks = _marks(exam)[rows]
    kinds = [kind for kind in marks.unique().tolist() if kind]
    answer = torch.nan_to_num(answer, nan=torch.inf, posinf=1e300, neginf=-1e300)[rows]
    found = []
    for kind in kinds:
        some = (marks == 0) | (marks == kind)
        found.append(float(auc(answer[some], marks[some] == kind)))
    return 1 - sum(found) / len(found) if found else 0.5


def _details(exam: Exam, answer: Tensor) -> Mapping[str, float]:
    marks = _marks(exam)
    precision = average_precision(answer.numpy(), (marks > 0).numpy())
    found = {"ROC-AUC": 1 - _score(exam, answer, torch.arange(len(answer))), "average precision": precision}
    for number, kind in enumerate(PLANTED, 2):
        if bool((marks == number).any()):
            rows = torch.nonzero((marks == 0) | (marks == number)).flatten()
            found[f"ROC-AUC of {kind} anomalies"] = 1 - _score(exam, answer, rows)
    return found


def _mahalanobis(exam: Exam) -> Tensor:
    normal = Normal.of(*exam.space.vectors(exam.learned))
    return normal.distances(*exam.space.vectors(exam.known))


def _forest(exam: Exam) -> Tensor:
    ensemble = optional("sklearn.ensemble", "sklearn", "fit the isolation forest of `detect`")
    forest = ensemble.IsolationForest(random_state=exam.seed)
    forest.fit(exam.space.vectors(exam.learned)[0].numpy())
    return torch.from_numpy(-forest.score_samples(exam.space.vectors(exam.known)[0].numpy())).double()


DETECT = Goal(
    "detect",
    "1 - ROC-AUC",
    "One minus the area under the ROC curve of the anomaly scores of held-out rows, by the labels if there are two "
    "classes. Otherwise anomalies of four kinds are planted among them, and the score is a proxy: what is good at "
    "these need not be good at yours.",
    ("table", "vector", "series"),
    _scores,
    _score,
    _details,
    {"Mahalanobis distance": _mahalanobis, "isolation forest": _forest},
    "narrows score {run} DATA --alpha .01 --out scores.csv",
    ("isolation forest",),
)
