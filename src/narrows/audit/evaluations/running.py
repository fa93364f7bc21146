"""Runs the requested evaluations within a time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

from narrows.audit.evaluations.requests import Request
from narrows.audit.evidence.view import View
from narrows.audit.report.finding import Check, Figure, not_measured
from narrows.core import evaluation_mode, seeded
from narrows.core.check import NarrowsError
from narrows.core.progress import Silent

__all__ = ["Evaluated", "evaluate"]


class Evaluated(NamedTuple):
    """What the evaluations found."""

    checks: list[Check]
    figures: list[Figure]
    seconds: dict[str, float]
    """The measured time of each evaluation that was run."""


def evaluate(view: View, requests: Sequence[Request], budget: float | None, progress: Silent) -> Evaluated:
    """Run the evaluations, cheapest first.

    Args:
        view: the evidence of the audit.
        requests: the evaluations, in order of their stated seconds.
        budget: seconds for all of them. An evaluation is left out if the stated seconds of those before it and its own
            exceed the budget, or if the budget has passed already; one check names those that were left out.
        progress: shows which one is running.
    """
    found = Evaluated([], [], {})
    begun, planned = time.monotonic(), 0.0
    left_out: list[str] = []
    for request in requests:
        lacks = _lacks(view, request)
        if lacks:
            found.checks.append(not_measured(request.name, lacks))
            continue
        stated = request.evaluation.seconds
        spent = budget is not None and time.monotonic() - begun >= budget
        if spent or (budget is not None and planned + stated > budget):
            left_out.append(f"`{request.name}` ({stated:g} s)")
            continue
        planned += stated
        progress.begin(f"Evaluating {request.name}, about {stated:g} s", 1, what="evaluation")
        started = time.monotonic()
        try:
            with evaluation_mode(view.model), seeded(view.seed):
                finding = request.evaluation(view)
        except NarrowsError as error:
            found.checks.append(not_measured(request.name, str(error)))
        else:
            found.checks.extend(finding.checks)
            found.figures.extend(finding.figures)
        found.seconds[request.name] = time.monotonic() - started
        progress.advance(1)
    if budget is not None and left_out:
        found.checks.append(_left_out(left_out, budget))
    return found


def _lacks(view: View, request: Request) -> str:
    """Why an evaluation does not apply, also if finding that out failed (a language model that is gone)."""
    try:
        return request.evaluation.lacks(view)
    except NarrowsError as error:
        return str(error)


def _left_out(names: Sequence[str], budget: float) -> Check:
    which = "is" if len(names) == 1 else "are"
    says = (
        f"The time of {budget:g} s does not suffice for {', '.join(names)}, which {which} left out; in brackets the "
        "typical time on two cores. Set a larger budget, or name the evaluation alone."
    )
    return Check("evaluations/left-out", float(len(names)), "evaluations", "info", says)
