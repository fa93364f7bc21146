"""The charts of a tournament's page: quality against cost, and scores over steps, with names beside the points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple, TypeAlias

from narrows.audit.report.html import Drawn
from narrows.audit.report.pareto import front
from narrows.audit.report.svg import Frame, ticks
from narrows.tournament.verdict import Entry, Verdict

__all__ = ["Path", "drawn_cost", "drawn_steps", "told_seconds"]

_WIDTH, _HEIGHT = 880, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 72, 190, 16, 52
_LINE = 15.0
"""The height of a label."""

_HALO = "paint-order: stroke; stroke: var(--sheet); stroke-width: 4px"
"""Around a label, so that a line behind it does not cross its letters."""

_ROLES = ("tournament", "random search", "baseline")
_TIMES = (0.001, 0.01, 0.1, 1, 10, 60, 600, 3600, 36_000)


class Path(NamedTuple):
    """The scores of a candidate after numbers of steps; `label` is empty if it was not promoted to the end."""

    label: str
    steps: tuple[int, ...]
    scores: tuple[float, ...]


_Box: TypeAlias = tuple[float, float, float, float]
"""Left, top, right, bottom."""


class _Label(NamedTuple):
    """A text beside a point."""

    x: float
    y: float
    text: str
    bold: bool = False


def told_seconds(seconds: float) -> str:
    """A time as it is said.

    Example:
        >>> told_seconds(0.042), told_seconds(12.3), told_seconds(600)
        ('0.042 s', '12 s', '10 min')
    """
    if math.isnan(seconds):
        return "unknown"
    if seconds < 10:
        return f"{seconds:.2g} s"
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.3g} min"


def drawn_cost(figure: str, entries: Sequence[Entry], verdict: Verdict) -> Drawn:
    """Score against the seconds of a training, on a logarithmic axis, with the Pareto front.

    Args:
        figure: the name of the score.
        entries: those with a score.
        verdict: the winner is marked, and the spread of all is drawn.
    """
    held = [entry for entry in entries if math.isfinite(entry.value)]
    costs = [math.log10(max(entry.cost, 1e-3)) for entry in held]
    spreads = [verdict.spread(entry) for entry in held]
    low = min(e.value - s for e, s in zip(held, spreads, strict=True))
    high = max(e.value + s for e, s in zip(held, spreads, strict=True))
    frame = _frame(costs, low, high)
    marks = [(math.log10(t), told_seconds(t)) for t in _TIMES if frame.x[0] <= math.log10(t) <= frame.x[1]]
    parts = [_axes(frame, marks, "time of one training", figure)]
    stairs = front([(cost, entry.value) for cost, entry in zip(costs, held, strict=True)])
    parts.append(_line(frame, [*stairs, (frame.x[1], stairs[-1][1])], 0))
    labels = []
    for cost, spread, entry in zip(costs, spreads, held, strict=True):
        x, y, tone = frame.horizontal(cost), frame.vertical(entry.value), 1 + _ROLES.index(entry.role)
        ends = frame.vertical(entry.value - spread), frame.vertical(entry.value + spread)
        parts.append(
            f'<path d="M{x:.1f} {ends[0]:.1f}V{ends[1]:.1f}" class="s{tone}" style="stroke-dasharray: none"/>'
        )
        parts.append(f'<circle class="t{tone}" cx="{x:.1f}" cy="{y:.1f}" r="5.5"/>')
        chosen = entry is verdict.winner
        labels.append(_Label(x, y, entry.name + (", chosen" if chosen else ""), chosen))
    parts.append(_placed(labels))
    says = (
        "On rows that the tournament never saw; lower is better for both. Bars are one standard deviation. None is "
        "better than those on the line in one figure without being worse in the other."
    )
    legend = [(role, 1 + n) for n, role in enumerate(_ROLES) if any(e.role == role for e in held)]
    return _drawn("cost", "Quality against cost", says, parts, [*legend, ("Pareto front", 0)])


def drawn_steps(figure: str, paths: Sequence[Path], searched: Sequence[Path]) -> Drawn | None:
    """Scores over steps, on a logarithmic axis, on the rows that judge the rungs.

    Args:
        figure: the name of the score.
        paths: of the candidates of the tournament.
        searched: of random search, and of other seeds.
    """
    known = [*paths, *searched]
    values = [score for path in known for score in path.scores]
    steps = sorted({n for path in known for n in path.steps})
    if len(steps) < 2:
        return None
    frame = _frame([math.log10(n) for n in steps], min(values), max(values))
    parts = [_axes(frame, [(math.log10(n), f"{n:,}") for n in steps], "steps of training", figure)]
    labels = []
    for path in sorted(known, key=lambda path: bool(path.label)):
        tone = (1 if path in paths else 2) if path.label else 0
        points = [(math.log10(n), y) for n, y in zip(path.steps, path.scores, strict=True)]
        parts.append(_line(frame, points, tone))
        places = [(frame.horizontal(x), frame.vertical(y)) for x, y in points]
        radius = 5 if path.label else 3
        parts += [f'<circle class="t{tone}" cx="{x:.1f}" cy="{y:.1f}" r="{radius}"/>' for x, y in places]
        if path.label:
            labels.append(_Label(*places[-1], path.label))
    parts.append(_placed(labels))
    says = "On the rows that judge the rungs; lower is better. A grey line ends where a candidate was not promoted."
    legend = [("tournament", 1), ("random search and other seeds", 2), ("not promoted", 0)]
    return _drawn("rungs", "Scores over steps", says, parts, legend)


def _drawn(name: str, title: str, says: str, parts: Sequence[str], legend: list[tuple[str, int]]) -> Drawn:
    svg = (
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">'
        f"{''.join(parts)}</svg>"
    )
    return Drawn(name, title, says, svg, [], False, legend)


def _frame(x: Sequence[float], low: float, high: float) -> Frame:
    """The axes around some points, with a margin."""
    wide, tall = max(max(x) - min(x), 0.3), max(high - low, 1e-9)
    across = min(x) - 0.05 * wide, max(x) + 0.05 * wide
    return Frame(
        across,
        (low - 0.06 * tall, high + 0.06 * tall),
        False,
        _LEFT,
        _WIDTH - _RIGHT,
        _TOP,
        _HEIGHT - _BOTTOM,
    )


def _axes(frame: Frame, marks: Sequence[tuple[float, str]], x_label: str, y_label: str) -> str:
    parts = []
    for mark in ticks(*frame.y, 6):
        y = frame.vertical(mark)
        parts.append(f'<line class="grid" x1="{frame.left}" x2="{frame.right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(
            f'<text class="tick" x="{frame.left - 8}" y="{y + 4:.1f}" text-anchor="end">{mark:.4g}</text>'
        )
    last = -math.inf
    for place, text in marks:
        x = frame.horizontal(place)
        if x - last > 46:
            parts.append(
                f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{frame.bottom}" y2="{frame.bottom + 5}"/>'
            )
            parts.append(
                f'<text class="tick" x="{x:.1f}" y="{frame.bottom + 18}" text-anchor="middle">{escape(text)}</text>'
            )
            last = x
    middle, centre = (frame.left + frame.right) / 2, (frame.top + frame.bottom) / 2
    bottom = frame.bottom
    parts.append(f'<line class="axis" x1="{frame.left}" x2="{frame.right}" y1="{bottom}" y2="{bottom}"/>')
    parts.append(
        f'<text class="label" x="{middle}" y="{_HEIGHT - 8}" text-anchor="middle">{escape(x_label)}</text>'
        f'<text class="label" transform="translate(14 {centre}) rotate(-90)" text-anchor="middle">'
        f"{escape(y_label)}</text>"
    )
    return "".join(parts)


def _line(frame: Frame, points: Sequence[tuple[float, float]], tone: int) -> str:
    places = " ".join(f"{frame.horizontal(x):.1f},{frame.vertical(y):.1f}" for x, y in points)
    return f'<polyline points="{places}" class="line s{tone}" stroke-opacity=".6"/>'


def _placed(labels: Sequence[_Label]) -> str:
    """Labels beside their points, at the first place where they cover no other label and no point."""
    parts: list[str] = []
    taken = [(one.x - 6, one.y - 6, one.x + 6, one.y + 6) for one in labels]
    for label in sorted(labels, key=lambda label: (-label.x, label.y)):
        box = min(_boxes(label), key=lambda box: _covered(box, taken))
        taken.append(box)
        weight = "; font-weight: 700" if label.bold else ""
        parts.append(
            f'<text class="tick" x="{box[0]:.1f}" y="{box[3] - 4:.1f}" style="{_HALO}{weight}">'
            f"{escape(label.text)}</text>"
        )
    return "".join(parts)


def _boxes(label: _Label) -> list[_Box]:
    """Places of a label, the best first: on the right of its point, on the left, then a line lower or higher."""
    wide = 6.6 * len(label.text)
    found = []
    for shift in (0, 1, -1, 2, -2, 3, -3, 4, -4):
        top = label.y - _LINE / 2 + shift * _LINE
        for left in (label.x + 9, label.x - 9 - wide):
            found.append((left, top, left + wide, top + _LINE))
    return found


def _covered(box: _Box, taken: Sequence[_Box]) -> float:
    """The area of a place that is taken."""
    return sum(
        max(0.0, min(box[2], other[2]) - max(box[0], other[0]))
        * max(0.0, min(box[3], other[3]) - max(box[1], other[1]))
        for other in taken
    )
