"""Charts as SVG, with the colours of the page's style sheet.

They are drawn without a plotting library: text stays text, colours are variables of the style sheet (for light, dark
and print), and a chart has a few kilobytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from narrows.audit.report.finding import Chart, Series

__all__ = ["Frame", "draw", "polyline", "ticks"]

WIDTH, HEIGHT = 420, 236
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 16, 10, 40
_MOST_POINTS = 300


@dataclass(frozen=True)
class Frame:
    """The axes of a chart: from data to SVG coordinates.

    Args:
        x: minimum and maximum of the horizontal axis.
        y: minimum and maximum of the vertical axis.
        log: whether the vertical axis is logarithmic.
        left: the left edge, in SVG units.
        right: the right edge.
        top: the upper edge.
        bottom: the lower edge.
    """

    x: tuple[float, float]
    y: tuple[float, float]
    log: bool = False
    left: float = _LEFT
    right: float = WIDTH - _RIGHT
    top: float = _TOP
    bottom: float = HEIGHT - _BOTTOM

    def horizontal(self, x: float) -> float:
        """The horizontal coordinate of a value."""
        low, high = self.x
        return self.left + (x - low) / (high - low or 1) * (self.right - self.left)

    def vertical(self, y: float) -> float:
        """The vertical coordinate of a value."""
        low, high = self.y
        if self.log:
            low, high, y = math.log10(low), math.log10(high), math.log10(max(y, low))
        return self.bottom - (y - low) / (high - low or 1) * (self.bottom - self.top)


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers between two ends, about `count` of them.

    Example:
        >>> ticks(0, 9.7)
        [0.0, 2.0, 4.0, 6.0, 8.0]
    """
    if not high > low:
        return [low]
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(n * step, 12) + 0.0 for n in range(first, math.floor(high / step + 1e-9) + 1)]


def draw(chart: Chart) -> str:
    """The chart as an SVG element.

    Example:
        >>> draw(Chart("c", "A title", "", "bars", (Series("s", (1.0, 2.0)),)))[:4]
        '<svg'
    """
    body = _KINDS[chart.kind](chart)
    height = HEIGHT if chart.kind != "matrix" else _matrix_height(chart)
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(chart.title)}">'
        f"{body}</svg>"
    )


def polyline(frame: Frame, x: Sequence[float], y: Sequence[float], style: str) -> str:
    """A line through the finite points."""
    points = [
        f"{frame.horizontal(a):.1f},{frame.vertical(b):.1f}"
        for a, b in zip(x, y, strict=True)
        if math.isfinite(a + b)
    ]
    return f'<polyline points="{" ".join(points)}" {style}/>'


def _abscissae(series: Series) -> tuple[float, ...]:
    return series.x or tuple(float(i) for i in range(len(series.y)))


def _span(values: Sequence[float], zero: bool = False, pad: float = 0.0) -> tuple[float, float]:
    finite = [v for v in values if math.isfinite(v)] or [0.0]
    low, high = min(finite), max(finite)
    if zero:
        low, high = min(low, 0.0), max(high, 0.0)
    if high <= low:
        low, high = low - 0.5 * abs(low or 1), high + 0.5 * abs(high or 1)
    margin = pad * (high - low)
    return (low if zero and low == 0 else low - margin, high if zero and high == 0 else high + margin)


def _axes(chart: Chart, frame: Frame, x_marks: bool = True) -> str:
    parts = []
    if frame.log:
        marks = [
            10.0**p for p in range(math.ceil(math.log10(frame.y[0])), math.floor(math.log10(frame.y[1])) + 1)
        ]
    else:
        marks = ticks(*frame.y, 4)
    for mark in marks:
        y = frame.vertical(mark)
        parts.append(f'<line class="grid" x1="{frame.left}" x2="{frame.right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(
            f'<text class="tick" x="{frame.left - 6}" y="{y + 4:.1f}" text-anchor="end">{_short(mark)}</text>'
        )
    for mark in ticks(*frame.x, 5) if x_marks else ():
        x = frame.horizontal(mark)
        parts.append(
            f'<text class="tick" x="{x:.1f}" y="{frame.bottom + 15}" text-anchor="middle">{_short(mark)}</text>'
        )
    middle = (frame.left + frame.right) / 2
    parts.append(
        f'<line class="axis" x1="{frame.left}" x2="{frame.right}" y1="{frame.bottom}" y2="{frame.bottom}"/>'
    )
    if chart.x_label:
        parts.append(
            f'<text class="label" x="{middle}" y="{HEIGHT - 7}" text-anchor="middle">{escape(chart.x_label)}</text>'
        )
    if chart.y_label:
        centre = (frame.top + frame.bottom) / 2
        parts.append(
            f'<text class="label" transform="translate(11 {centre}) rotate(-90)" '
            f'text-anchor="middle">{escape(chart.y_label)}</text>'
        )
    return "".join(parts)


def _short(value: float) -> str:
    """The text of a tick: few characters, an exponent only if needed."""
    size = abs(value)
    if size >= 1e6 or (0 < size < 1e-3):
        return f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e")
    if size >= 1e4:
        return f"{value / 1e3:g}k"
    return f"{value:.4g}"


def _bars(chart: Chart) -> str:
    points = [x for s in chart.series for x in _abscissae(s)]
    heights = [y for s in chart.series for y in s.y]
    frame = Frame((-0.5, max(points, default=0) + 0.5), _span(heights, zero=True, pad=0.04))
    width = frame.horizontal(1) - frame.horizontal(0)
    gap = min(3.0, 0.2 * width)
    parts = [_axes(chart, frame, x_marks=False)]
    for s in chart.series:
        for x, y in zip(_abscissae(s), s.y, strict=True):
            left, top = frame.horizontal(x - 0.5) + gap / 2, frame.vertical(max(y, 0))
            size = max(abs(frame.vertical(0) - frame.vertical(y)), 0.8)
            parts.append(
                f'<rect class="t{s.tone}" x="{left:.1f}" y="{top:.1f}" width="{width - gap:.1f}" height="{size:.1f}">'
                f"<title>{escape(s.name)}: {y:.4g}</title></rect>"
            )
    return "".join(parts)


def _histogram(chart: Chart) -> str:
    edges = [x for s in chart.series for x in s.x]
    frame = Frame(_span(edges), _span([y for s in chart.series for y in s.y], zero=True, pad=0.04))
    parts = [_axes(chart, frame)]
    for s in chart.series:
        for low, high, y in zip(s.x, s.x[1:], s.y, strict=False):
            left, right, top = frame.horizontal(low), frame.horizontal(high), frame.vertical(y)
            if y:
                parts.append(
                    f'<rect class="t{s.tone}" x="{left:.1f}" y="{top:.1f}" width="{max(right - left - 0.8, 0.6):.1f}" '
                    f'height="{frame.bottom - top:.1f}"><title>{low:.3g} to {high:.3g}: {y:g}</title></rect>'
                )
    return "".join(parts)


def _plane(chart: Chart, pad: float) -> Frame:
    xs = [x for s in chart.series for x in _abscissae(s)]
    ys = [y for s in chart.series for y in s.y if math.isfinite(y)]
    log = chart.log and bool(ys) and min(ys) > 0
    y = (min(ys) / 1.1, max(ys) * 1.1) if log else _span(ys, pad=max(pad, 0.04))
    return Frame(_span(xs, pad=pad), y, log)


def _lines(chart: Chart) -> str:
    frame = _plane(chart, 0.0)
    parts = [_axes(chart, frame)]
    for s in chart.series:
        every = max(1, len(s.y) // _MOST_POINTS)
        keep = sorted({*range(0, len(s.y), every), len(s.y) - 1})
        x = _abscissae(s)
        parts.append(polyline(frame, [x[i] for i in keep], [s.y[i] for i in keep], f'class="line s{s.tone}"'))
        if len(s.y) == 1:
            parts.append(_dot(frame, x[0], s.y[0], s, 4))
    return "".join(parts)


def _points(chart: Chart) -> str:
    frame = _map(chart) if chart.outline else _plane(chart, 0.06)
    parts = [_around(chart, frame) if chart.outline else _axes(chart, frame)]
    for s in chart.series:
        if s.mark:
            parts.append(_strokes(frame, s))
            continue
        radius = 2.2 if len(s.y) > 30 or chart.outline else 5.5
        parts.extend(_dot(frame, x, y, s, radius) for x, y in zip(_abscissae(s), s.y, strict=True))
    return "".join(parts)


def _strokes(frame: Frame, series: Series) -> str:
    """A line through all points, or a stroke from each second point to the next, with a head for an arrow."""
    points = list(zip(_abscissae(series), series.y, strict=True))
    if series.mark == "line":
        x, y = zip(*points, strict=True)
        return polyline(frame, x, y, f'class="line s{series.tone}"')
    path = []
    for tail, head in zip(points[::2], points[1::2], strict=True):
        a, b = ((frame.horizontal(x), frame.vertical(y)) for x, y in (tail, head))
        path.append(f"M{a[0]:.1f} {a[1]:.1f}L{b[0]:.1f} {b[1]:.1f}")
        if series.mark == "arrows":
            path.append(_head(a, b))
    return f'<path d="{"".join(path)}" class="curve s{series.tone}"/>'


def _head(a: tuple[float, float], b: tuple[float, float]) -> str:
    """The two strokes of an arrow's head."""
    along = math.atan2(b[1] - a[1], b[0] - a[0])
    size = min(4.0, 0.5 * math.hypot(b[0] - a[0], b[1] - a[1]))
    ends = [
        (b[0] - size * math.cos(along + turn), b[1] - size * math.sin(along + turn)) for turn in (0.5, -0.5)
    ]
    return "".join(f"M{b[0]:.1f} {b[1]:.1f}L{x:.1f} {y:.1f}" for x, y in ends)


def _map(chart: Chart) -> Frame:
    """A frame around the outline with the same scale along both axes."""
    (left, right), (bottom, top) = (_span(values) for values in zip(*chart.outline, strict=True))
    scale = min((WIDTH - 2 * _RIGHT) / (right - left), (HEIGHT - 2 * _RIGHT) / (top - bottom))
    wide, high = 0.5 * scale * (right - left), 0.5 * scale * (top - bottom)
    x, y = WIDTH / 2, HEIGHT / 2
    return Frame((left, right), (bottom, top), False, x - wide, x + wide, y - high, y + high)


def _around(chart: Chart, frame: Frame) -> str:
    xs, ys = zip(*(*chart.outline, chart.outline[0]), strict=True)
    return polyline(frame, xs, ys, 'class="axis" fill="none"')


def _dot(frame: Frame, x: float, y: float, series: Series, radius: float) -> str:
    title = f"<title>{escape(series.name)}: {x:.4g}, {y:.4g}</title>" if radius > 3 else ""
    return (
        f'<circle class="t{series.tone} dot" cx="{frame.horizontal(x):.1f}" cy="{frame.vertical(y):.1f}" r="{radius}">'
        f"{title}</circle>"
    )


_CELL, _HEAD = 20, 46


def _matrix_height(chart: Chart) -> int:
    return _HEAD + _CELL * len(chart.series) + 6


def _matrix(chart: Chart) -> str:
    left = 84
    width = min(54.0, (WIDTH - left - 14) / max(1, len(chart.columns)))
    parts = []
    for c, name in enumerate(chart.columns):
        x = left + (c + 0.5) * width
        parts.append(
            f'<text class="tick" transform="translate({x:.1f} {_HEAD - 6}) rotate(-28)">{escape(name[:14])}</text>'
        )
    for r, s in enumerate(chart.series):
        y = _HEAD + r * _CELL
        parts.append(
            f'<text class="tick" x="{left - 8}" y="{y + 14}" text-anchor="end">{escape(s.name)}</text>'
        )
        for c, value in enumerate(s.y):
            shade = min(1.0, max(0.0, value))
            parts.append(
                f'<rect class="t1" fill-opacity="{0.04 + 0.96 * shade:.3f}" x="{left + c * width:.1f}" y="{y}" '
                f'width="{width - 2:.1f}" height="{_CELL - 2}"><title>{escape(s.name)}, '
                f"{escape(chart.columns[c])}: {value:.3f}</title></rect>"
            )
    return "".join(parts)


_KINDS: dict[str, Callable[[Chart], str]] = {
    "bars": _bars,
    "histogram": _histogram,
    "lines": _lines,
    "points": _points,
    "matrix": _matrix,
}
