"""`detect`: which rows are anomalies, at a level that calibration rows guarantee."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from narrows.audit.metrics.conformal import check_rows, discoveries, threshold
from narrows.core.check import fraction, refuse
from narrows.runs.verbs.explain import explain as explain_rows
from narrows.runs.verbs.score import kind_of, quantity, terms

if TYPE_CHECKING:
    from narrows.runs.run import Run

__all__ = ["Detected", "detect", "explained"]

_ROWS = {
    "kept": "calibration rows, which the run kept from training",
    "test": "test rows of the run, as it kept no calibration rows",
    "given": "calibration rows",
}


@dataclass(frozen=True)
class Detected:
    """Scores of N rows, and which of them are flagged.

    Args:
        quantity: what the scores are, with their unit: ``nll_nats``.
        scores: higher for more unusual rows, (N,).
        flag: the rows that are flagged, (N,) bool; None without a level.
        p: conformal p-values, (N,); None without ``alpha`` or ``fdr``.
        q: Benjamini-Hochberg q-values, (N,); None without ``fdr``.
        threshold: the score above which rows are flagged, with ``contamination``.
        why: columns that name what made rows odd, with ``explain``.
        rows: the calibration rows: ``kept``, ``test`` or ``given``; empty without a level.
        n: their number.
    """

    quantity: str
    scores: np.ndarray
    flag: np.ndarray | None = None
    p: np.ndarray | None = None
    q: np.ndarray | None = None
    threshold: float | None = None
    why: Mapping[str, np.ndarray] = field(default_factory=dict)
    rows: str = ""
    n: int = 0

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def says(self) -> str:
        """A sentence on what was flagged, and by which rows."""
        flagged = 0 if self.flag is None else int(self.flag.sum())
        return f"{flagged:,} of {len(self):,} rows are flagged, by {self.n:,} {_ROWS[self.rows]}."

    def columns(self) -> dict[str, np.ndarray]:
        """One column a figure, by name."""
        found = {self.quantity: self.scores, "p_value": self.p, "q_value": self.q}
        flag = None if self.flag is None else self.flag.astype(np.int64)
        given = {name: values for name, values in (found | {"flag": flag}).items() if values is not None}
        return given | dict(self.why)


def detect(
    run: Run,
    data: Any = None,
    *,
    kind: str | None = None,
    alpha: float | None = None,
    fdr: float | None = None,
    contamination: float | None = None,
    explain: str | None = None,
    calibration: Any = None,
    progress: Any = None,
) -> Detected:
    """Flag the anomalies among rows.

    Args:
        run: a run.
        data: the rows; the test split of the run if None.
        kind: of the score, as for `Run.score`.
        alpha: flag rows whose conformal p-value is at most alpha: of fresh rows like those of the calibration, a share
            of at most alpha is flagged, on average over draws of the calibration rows.
        fdr: instead, flag rows with a Benjamini-Hochberg q-value of at most this: of the flagged rows, a share of at
            most `fdr` is expected to be normal. The q-values depend on all rows of the data.
        contamination: instead, flag rows with a score above the 1 - c quantile of the calibration scores.
        explain: name the columns that make rows odd, ``fast`` or for flagged rows ``exact``: see
            `narrows.runs.verbs.explain.explain`.
        calibration: as for `Run.calibration`: the calibration rows, by default those of the run.
        progress: a `narrows.core.progress.Progress`, or None.

    Raises:
        RequestError: no level or several, one out of range, or with fewer calibration rows than it needs.
    """
    levels = {"alpha": alpha, "fdr": fdr, "contamination": contamination}
    given = {name: fraction(name, value) for name, value in levels.items() if value is not None}
    if len(given) != 1:
        got = " and ".join(f"``{name}={value!r}``" for name, value in given.items()) or "none"
        raise refuse(
            "alpha", got, "the only level, or ``fdr``, or ``contamination``", "Give one of the three."
        )
    ((name, level),) = given.items()
    kind = kind_of(run, data, kind)
    known = run.calibration(calibration, progress=progress)
    if name != "contamination":
        check_rows(name, level, len(known))
    found = terms(run, data, samples=known.samples, seed=known.seed, progress=progress)
    scores = np.abs(found["nll"] - known.centre) if kind == "typicality" else found[kind]
    made = Detected(quantity(run, kind), scores, rows=known.rows, n=len(known))
    if name == "contamination":
        most = threshold(known.of(kind), level)
        made = replace(made, flag=scores > most, threshold=most)
    else:
        made = _tested(made, known.p_values(kind, found), level, name == "fdr")
    return made if explain is None else explained(made, run, data, explain, calibration, progress)


def explained(
    made: Detected, run: Run, data: Any, how: str, calibration: Any = None, progress: Any = None
) -> Detected:
    """The scores with what makes rows odd; exact terms of flagged rows alone, if there are flags."""
    rows = made.flag if how == "exact" else None
    found = explain_rows(run, data, how, rows=rows, calibration=calibration, progress=progress)
    return replace(made, why=found.columns(rows))


def _tested(made: Detected, p: np.ndarray, level: float, several: bool) -> Detected:
    """The rows flagged by their p-values, or by their q-values."""
    q = discoveries(p) if several else None
    return replace(made, p=p, q=q, flag=(p if q is None else q) <= level)
