"""Maps of codes that lie on a curve or a surface: a circle, a sphere, a torus, the Poincaré disc."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from narrows.audit.evidence.view import View, device_of
from narrows.audit.report.finding import Chart, Finding, Series
from narrows.core import Surface

__all__ = ["surface"]

_ROWS = 1000
_HUES, _FIRST = 12, 11
"""The hues of the colour circle, and the tone of the first."""
_FACTORS = 2


def surface(view: View) -> Finding:
    """A map of the codes, coloured by class, or one for each of the first two factors that vary."""
    if not isinstance(view.z, Tensor) or view.z.dim() != 2 or view.elements:
        return Finding()
    with torch.no_grad():
        found = view.model.bottleneck.surface(view.z[:_ROWS].to(device_of(view.model)))
    if found is None or not bool(found.points.isfinite().all()):
        return Finding()
    return Finding(figures=tuple(_charts(view, found)))


def _charts(view: View, found: Surface) -> Iterator[Chart]:
    n, drawn = len(found.points), False
    if view.labels is not None:
        yield _chart(found, "class", view.labels[:n])
        drawn = True
    elif view.factors is not None:
        factors = view.factors[:n]
        varying = [i for i in range(factors.shape[1]) if len(factors[:, i].unique()) > 1]
        for i in varying[:_FACTORS]:
            name = view.factor_names[i] if i < len(view.factor_names) else f"factor {i}"
            yield _chart(found, name, factors[:, i])
            drawn = True
    if not drawn:
        yield _chart(found, "", torch.zeros(n))


def _chart(found: Surface, of: str, values: Tensor) -> Chart:
    """The points in up to twelve colours, by the rank of their value among all values."""
    points, outline = found.points.cpu().double(), found.outline.cpu().double()
    known, rank = values.unique(return_inverse=True)
    count = min(_HUES, len(known))
    group = rank * count // len(known)
    series = []
    for hue in range(count):
        x, y = points[group == hue].T.tolist()
        held = known[torch.arange(len(known)) * count // len(known) == hue]
        low, high = (f"{float(held[i]):g}" for i in (0, -1))
        tone = _FIRST + hue * _HUES // count if of else 1
        series.append(Series(low if low == high else f"{low} to {high}", tuple(y), tuple(x), tone))
    coloured = f" Coloured by {of}." if of else ""
    return Chart(
        f"surface/{of}" if of else "surface",
        f"Codes on the {found.name}" + (f", by {of}" if of else ""),
        f"{found.says}{coloured}",
        "points",
        tuple(series),
        outline=tuple((x, y) for x, y in outline.tolist()),
    )
