"""Which columns, or which stretch of a series, make a row odd."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from narrows.audit.evidence.hidden import hidden_terms
from narrows.core import Batch
from narrows.core.check import RequestError, choice, refuse
from narrows.runs.verbs.score import terms

if TYPE_CHECKING:
    from narrows.runs.run import Run

__all__ = ["Explanation", "excess", "explain", "stretch"]

_CHUNK = 128


@dataclass(frozen=True)
class Explanation:
    """What each column contributes to the score of N rows.

    Args:
        terms: (N, D), NaN where a cell is missing; of series (N, T), summed over channels.
        names: of the columns, or of the steps.
        unit: of the terms: ``nats``.
        series: whether these are the steps of series.
    """

    terms: np.ndarray
    names: Sequence[str]
    unit: str
    series: bool = False

    def columns(self, rows: np.ndarray | None = None, count: int = 3) -> dict[str, np.ndarray]:
        """The `count` largest terms of each row, their columns as ``why_1`` and values as ``why_1_nats`` ...

        Of series the stretch of steps with the largest sum. Other rows than `rows`, a mask (N,), are left empty.
        """
        found: dict[str, np.ndarray] = {}
        asked = np.ones(len(self.terms), bool) if rows is None else rows
        parts = self._stretches() if self.series else self._largest(count)
        for number, (names, values) in enumerate(parts, 1):
            there = asked & np.isfinite(values)
            found[f"why_{number}"] = np.where(there, names, "")
            found[f"why_{number}_{self.unit}"] = np.where(there, values, np.nan)
        return found

    def _largest(self, count: int) -> list[tuple[np.ndarray, np.ndarray]]:
        ranked = np.argsort(np.where(np.isnan(self.terms), np.inf, -self.terms), axis=1, kind="stable")
        names = np.array(self.names)
        places = [ranked[:, k] for k in range(min(count, len(names)))]
        return [(names[place], np.take_along_axis(self.terms, place[:, None], 1)[:, 0]) for place in places]

    def _stretches(self) -> list[tuple[np.ndarray, np.ndarray]]:
        found = [stretch(row) for row in np.nan_to_num(self.terms)]
        names = [f"{self.names[first]}-{self.names[last]}" for first, last, _ in found]
        return [(np.array(names), np.array([value for *_, value in found]))]


def explain(
    run: Run,
    data: Any = None,
    how: str = "fast",
    *,
    rows: np.ndarray | None = None,
    calibration: Any = None,
    progress: Any = None,
) -> Explanation:
    """What each column contributes to the scores of rows.

    Args:
        run: a run on tables, vectors or series.
        data: the rows; the test split of the run if None.
        how: ``fast``, the term of the column in the distortion minus its median over the calibration rows; ``exact``,
            -log p of the cell given the others of the row, for methods that read missing cells, at as many times the
            cost as there are columns.
        rows: only these rows, a mask (N,); the terms of others are NaN.
        calibration: as for `Run.calibration`.
        progress: a `narrows.core.progress.Progress`, or None.

    Raises:
        RequestError: an unknown `how`, images or other kinds of data, or a method that cannot hide cells.
    """
    choice("explain", how, ("fast", "exact"))
    spec = run.recipe.spec
    series = spec.kind == "series"
    if spec.kind not in ("array", "table", "series") or (len(spec.shape) != 1 and not series):
        raise refuse(
            "explain", how, "left out: it names columns, or steps of series", "Of images give ``map``."
        )
    if how == "exact":
        return Explanation(_exact(run, data, rows, progress), _names(run), "nats")
    found = excess(run, data, calibration, progress)
    if rows is not None:
        found[~rows] = np.nan
    unit = run.model.likelihood.unit.replace(" ", "_")
    if series:
        steps = np.nansum(found.reshape(*found.shape[:2], -1), 2)
        return Explanation(steps, [str(step) for step in range(steps.shape[1])], unit, True)
    return Explanation(found, _names(run), unit)


def excess(run: Run, data: Any, calibration: Any = None, progress: Any = None) -> np.ndarray:
    """The terms of the distortion by element minus their medians over the calibration rows, (N, *shape).

    Raises:
        RequestError: the distortion has no terms for the elements of an example.
    """
    known = run.calibration(calibration, progress=progress)
    if known.medians is None:
        raise RequestError(
            f"The distortion of `{run.method}` is no sum over elements that all examples have, so none can be named. "
            "Leave out ``explain`` and ``map``."
        )
    found = terms(run, data, samples=known.samples, seed=known.seed, progress=progress, elements=True)
    return np.asarray(found["elements"] - known.medians)


def _exact(run: Run, data: Any, rows: np.ndarray | None, progress: Any) -> np.ndarray:
    """-log p of each cell given the others, (N, D)."""
    if run.recipe.spec.kind != "table":
        raise refuse(
            "explain",
            "exact",
            f"fast: `{run.method}` reads complete rows, so no cell of them can be hidden",
            "Fit a table with: narrows fit FILE --method missing-iwae",
        )

    def one(batch: Batch) -> Any:
        return torch.stack([hidden_terms(each.model, batch) for each in run.members]).mean(0)

    dataset = run.dataset(data)
    chosen = np.arange(len(dataset)) if rows is None else np.flatnonzero(rows)
    found = np.full((len(dataset), run.recipe.spec.shape[0]), np.nan)
    if len(chosen):
        asked = dataset.rows(torch.from_numpy(chosen))
        found[chosen] = torch.cat(list(run._over(asked, one, progress, "Explaining", chunk=_CHUNK))).numpy()
    return found


def _names(run: Run) -> list[str]:
    """The names of columns, or c0, c1 ..."""
    named = list(run.recipe.spec.parts) or [str(name) for name in run.recipe.data.get("columns") or ()]
    count = run.recipe.spec.shape[0]
    return named if len(named) == count else [f"c{i}" for i in range(count)]


def stretch(values: np.ndarray) -> tuple[int, int, float]:
    """The first and the last step of the stretch with the largest sum, and the sum.

    Example:
        >>> stretch(np.array([-1.0, 2.0, -0.5, 3.0, -4.0]))
        (1, 3, 4.5)
    """
    total = np.concatenate([[0.0], np.cumsum(values)])
    lowest = np.minimum.accumulate(total[:-1])
    last = int((total[1:] - lowest).argmax())
    first = int(total[: last + 1].argmin())
    return first, last, float(total[last + 1] - total[first])
