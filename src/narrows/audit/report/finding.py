"""The result of a check: numbers with a verdict, charts and pictures, as plain data."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

__all__ = [
    "NOT_MEASURED",
    "Chart",
    "Check",
    "Figure",
    "Finding",
    "Gallery",
    "Series",
    "Texts",
    "Verdict",
    "distribution",
    "histogram",
    "not_measured",
]

Verdict: TypeAlias = Literal["ok", "warn", "bad", "info"]


NOT_MEASURED = "Not measured:"
"""The beginning of the sentence of a check that has no value, since what it presupposes does not hold."""

Texts: TypeAlias = Callable[[Tensor], list[str]]
"""From tokens (n, T) to texts."""


@dataclass(frozen=True)
class Check:
    """One number or word of the audit, with a verdict and its meaning.

    Args:
        name: stable name for programs, ``group`` or ``group/detail``.
        value: a number, a word, or None if there is no finite number.
        unit: the unit of the number: nats, bits, latents ...; may be empty.
        verdict: ``ok``, ``warn``, ``bad``, or ``info`` if no value is good or bad.
        says: a sentence that explains the value, with a remedy if it is bad.
        chance: the same figure of a control without information, measured on the same data: a random dictionary of
            equal shape and L0, shuffled labels or a shuffled pairing.
        spread: standard deviation of the figure over repeated evaluations of the same model, each with other tokens
            and splits.
        n: number of examples (tokens, sequences) that the figure rests on.
        no_chance: why there is no chance level: no control has another value, or the figure is one itself.
        no_spread: why there is no spread: the figure does not depend on the examples, or is a word.
        remedies: changed arguments of a fit, each of which may mend what is wrong, the first to be tried first.
            `narrows.runs.rescue` fits a second run with the first that the method has. In a text, ``{now}`` is the
            argument's number in the run, and ``{half}`` is half of the steps of its first stage.
    """

    name: str
    value: float | str | None
    unit: str = ""
    verdict: Verdict = "info"
    says: str = ""
    chance: float | None = None
    spread: float | None = None
    n: int | None = None
    no_chance: str = ""
    no_spread: str = ""
    remedies: tuple[Mapping[str, Any], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "remedies", tuple(self.remedies))

    def to_json(self) -> dict[str, Any]:
        """All fields, without unknown or empty ones after `says`; a number that is not finite becomes None.

        Example:
            >>> Check("fvu", 0.12, chance=0.9, spread=float("nan")).to_json()
            {'name': 'fvu', 'value': 0.12, 'unit': '', 'verdict': 'info', 'says': '', 'chance': 0.9}
        """
        fields = {name: _finite(value) for name, value in vars(self).items()}
        return {
            name: value
            for name, value in fields.items()
            if value not in (None, "", ()) or name in ("name", "value", "unit", "verdict", "says")
        }


def not_measured(name: str, reason: str, n: int | None = None) -> Check:
    """A check without a value, since what the figure presupposes does not hold.

    Args:
        name: as of `Check`.
        reason: a sentence.
        n: number of examples that were available.

    Example:
        >>> not_measured("probing/auc", "The probe of the activations has an F1 of 0.31.").says
        'Not measured: The probe of the activations has an F1 of 0.31.'
    """
    return Check(name, None, "", "info", f"{NOT_MEASURED} {reason}", n=n)


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


@dataclass(frozen=True)
class Series:
    """Numbers of one kind in a chart.

    Args:
        name: for the legend.
        y: the values; for a histogram, the counts.
        x: the coordinates; 0, 1, 2 ... if empty. For a histogram the edges, one more than counts.
        tone: 1 to 6, a colour of the palette; 0 for grey; 11 to 22, the hues of the colour circle, for classes or for
            the values of a factor.
        mark: of a chart of points: a ``line`` through all points in order, or from each second point to the next
            ``segments`` or ``arrows``; dots if empty.
    """

    name: str
    y: tuple[float, ...]
    x: tuple[float, ...] = ()
    tone: int = 1
    mark: Literal["", "line", "segments", "arrows"] = ""


@dataclass(frozen=True)
class Chart:
    """The data of a chart.

    Args:
        name: stable name.
        title: a few words.
        says: a sentence on how to read the chart.
        kind: ``bars``, ``histogram``, ``lines``, ``points`` or ``matrix`` (a row for each series).
        series: the data.
        x_label: of the horizontal axis.
        y_label: of the vertical axis.
        columns: names of a matrix's columns.
        log: whether the vertical axis is logarithmic.
        outline: of points on a map, a closed line around them, (x, y) each; the axes then have equal scales and no
            ticks.
    """

    name: str
    title: str
    says: str
    kind: Literal["bars", "histogram", "lines", "points", "matrix"]
    series: tuple[Series, ...]
    x_label: str = ""
    y_label: str = ""
    columns: tuple[str, ...] = ()
    log: bool = False
    outline: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Gallery:
    r"""Examples to be drawn: images as images, texts as text, anything else as curves.

    Args:
        name: stable name.
        title: a few words.
        says: a sentence on how to read the gallery.
        rows: a label and examples (n, \*shape) each.
        panels: curves share a panel by ``column`` (an original and its reconstruction) or by ``row`` (the steps of a
            traversal).
        signed: whether zero is the middle of the scale, as for an atom.
        text: of tokens (n, T), what they say.
    """

    name: str
    title: str
    says: str
    rows: tuple[tuple[str, Tensor], ...]
    panels: Literal["column", "row"] = "column"
    signed: bool = False
    text: Texts | None = None


Figure: TypeAlias = Chart | Gallery


@dataclass(frozen=True)
class Finding:
    """The result of one check; empty if the check does not apply."""

    checks: tuple[Check, ...] = ()
    figures: tuple[Figure, ...] = field(default=())


def histogram(name: str, values: Tensor, bins: int = 40, tone: int = 1) -> Series:
    """A series of counts in equal bins between the minimum and the maximum."""
    values = values.double()
    low, high = float(values.min()), float(values.max())
    high = high if high > low else low + max(abs(low), 1.0) * 1e-3
    counts = torch.histc(values, bins, low, high)
    edges = torch.linspace(low, high, bins + 1, dtype=torch.double)
    return Series(name, tuple(counts.tolist()), tuple(edges.tolist()), tone)


def distribution(name: str, title: str, says: str, of: str, values: Tensor, axis: str) -> Chart:
    """How some numbers are distributed, as a histogram.

    Args:
        name: as of `Chart`.
        title: as of `Chart`.
        says: as of `Chart`.
        of: what has these numbers: examples, latents ...
        values: one number each, (N,).
        axis: what the numbers are.
    """
    return Chart(name, title, says, "histogram", (histogram(of, values),), axis, of)
