"""`best_of`: the best of several runs by one figure of the audit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from narrows.audit.evaluations import EVALUATIONS
from narrows.audit.metrics.spread import Estimate, apart
from narrows.audit.report.compared import BETTER
from narrows.audit.report.finding import Check
from narrows.audit.report.report import shown
from narrows.core.check import RequestError
from narrows.runs.run import Run

__all__ = ["Best", "Figure", "best_of", "figure"]


@dataclass(frozen=True)
class Figure:
    """A figure of the audit by which runs are chosen.

    Args:
        name: of its check.
        better: ``lower`` or ``higher``.
        evaluation: the evaluation that measures it, as a text with options; empty for a figure of every audit.
    """

    name: str
    better: str
    evaluation: str = ""


@dataclass(frozen=True)
class Best:
    """The best of several runs.

    Args:
        figure: by which it was chosen.
        run: the best.
        check: its figure.
        checks: the figure of each run, in their order; None where it was not measured.
        level: the names of the other runs that are not told apart from the best by the spread of the evaluation.
    """

    figure: Figure
    run: Run
    check: Check
    checks: tuple[Check | None, ...]
    level: tuple[str, ...]

    @property
    def says(self) -> str:
        """The choice in a sentence."""
        best = f"{shown(self.check.value)} {self.check.unit}".strip()
        others = f" Not told apart from it: {', '.join(self.level)}." if self.level else ""
        by = f"{self.figure.name} ({self.figure.better} is better)"
        return f"By {by} the best run is {self.run.path}: {best}.{others}"


def figure(text: str) -> Figure:
    """The figure that a text names: a check, or an evaluation with options, of which it is the first that has a better.

    Args:
        text: such as ``fvu``, ``splice/ce``, ``mdl`` or ``mdl:fvu=0.3``.

    Raises:
        RequestError: no such figure, or one of which neither less nor more is better.

    Example:
        >>> figure("mdl:fvu=0.3")
        Figure(name='mdl/bits', better='lower', evaluation='mdl:fvu=0.3')
        >>> figure("fvu").better
        'lower'
    """
    head, _, _ = text.partition(":")
    group = head.partition("/")[0]
    name = next((n for n in BETTER if n == head or n.startswith(f"{head}/")), None)
    if name is None or (head != text and group not in EVALUATIONS.parts):
        raise RequestError(
            f"Runs cannot be chosen by {text!r}: it is no figure of which less or more is better. "
            f"There are: {', '.join(BETTER)}."
        )
    evaluation = text.replace(head, group, 1) if group in EVALUATIONS.parts else ""
    if evaluation:
        EVALUATIONS.make(evaluation)
    return Figure(name, BETTER[name], evaluation)


def best_of(runs: Sequence[Run], by: str | Figure, *, progress: Any = None, write: bool = True) -> Best:
    """Audit several runs and choose the best by one figure.

    Args:
        runs: finished runs on the same data.
        by: as for `figure`.
        progress: a `narrows.train.Progress`, or None.
        write: write the audits into the run folders.

    Raises:
        RequestError: an unknown figure, runs on different data, or a figure that no run has; the text says why.
    """
    wanted = figure(by) if isinstance(by, str) else by
    options: dict[str, Any] = {"evaluations": wanted.evaluation} if wanted.evaluation else {}
    reports = [run.audit(write=write, features=False, progress=progress, **options) for run in runs]
    if len({tuple(str(r.parameters.get(k)) for k in ("shape", "sha256")) for r in reports}) > 1:
        raise RequestError("These runs used different data, so that none can be chosen by a figure.")
    checks = tuple(report.get(wanted.name) for report in reports)
    values = [
        (check.value, run, check)
        for run, check in zip(runs, checks, strict=True)
        if check is not None and isinstance(check.value, (int, float))
    ]
    if not values:
        group = wanted.name.partition("/")[0]
        reasons = {c.says for r in reports for c in r.checks if c.name in (wanted.name, group) and c.says}
        raise RequestError(f"No run has the figure {wanted.name}. {' '.join(sorted(reasons))}".strip())
    best = (min if wanted.better == "lower" else max)(values, key=lambda each: each[0])
    level = tuple(run.path.name for _, run, check in values if run is not best[1] and _level(check, best[2]))
    return Best(wanted, best[1], best[2], checks, level)


def _level(a: Check, b: Check) -> bool:
    """Whether two checks are not told apart by the spread of their evaluation; False if it is not known."""
    one, other = (Estimate((float(c.value or 0),), () if c.spread is None else (c.spread,)) for c in (a, b))
    return apart(one, other) is False
