"""Cost against quality of several runs, and which of them no other beats in both."""

from __future__ import annotations

from collections.abc import Sequence

from narrows.audit.report.compared import Column
from narrows.audit.report.finding import Chart, Series

__all__ = ["front", "pareto_charts"]

_AXES = (
    ("sampling", "Samples: cost and quality", "compute/sample-flops", "quality/frechet", "Frechet distance"),
    (
        "reconstructing",
        "Reconstructions: cost and quality",
        "compute/reconstruct-flops",
        "quality/mse",
        "squared error",
    ),
)

_BEYOND = 1.25
"""The line ends at this multiple of the largest cost, so that runs of nearly equal cost are not drawn far apart."""


def pareto_charts(columns: Sequence[Column]) -> list[Chart]:
    """Charts of Frechet distance and squared error against operations, with the Pareto front.

    Args:
        columns: groups of runs; a chart has those with both figures.
    """
    charts = []
    for name, title, cost, quality, label in _AXES:
        points = [(column.name, _mean(column, cost), _mean(column, quality)) for column in columns]
        known = [(of, x / 1e6, y) for of, x, y in points if x is not None and y is not None]
        if len(known) < 2:
            continue
        best = front([(x, y) for _, x, y in known])
        best.append((_BEYOND * max(x for _, x, _ in known), best[-1][1]))
        series = [Series("Pareto front", tuple(y for _, y in best), tuple(x for x, _ in best), 0)]
        series += [Series(of, (y,), (x,), n % 6 + 1) for n, (of, x, y) in enumerate(known)]
        says = "Lower is better for both. No run beats those on the line in one without being worse in the other."
        charts.append(
            Chart(name, title, says, "lines", tuple(series), "million operations an example", label)
        )
    return charts


def front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points that no other beats, as a staircase from the cheapest to the best.

    Args:
        points: cost and quality, both better if lower.

    Example:
        >>> front([(1.0, 5.0), (2.0, 6.0), (3.0, 2.0)])
        [(1.0, 5.0), (3.0, 5.0), (3.0, 2.0)]
    """
    stairs: list[tuple[float, float]] = []
    for x, y in sorted(points):
        if not stairs:
            stairs.append((x, y))
        elif y < stairs[-1][1]:
            stairs += [(x, stairs[-1][1]), (x, y)]
    return stairs


def _mean(column: Column, name: str) -> float | None:
    """The mean of a figure over the runs of a column, None if one lacks it."""
    checks = [run.report.get(name) for run in column.runs]
    values = [check.value for check in checks if check is not None and isinstance(check.value, float)]
    return sum(values) / len(values) if len(values) == len(checks) else None
