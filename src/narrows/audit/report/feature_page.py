"""The features of a sparse code as one static page: examples in context, densities, logits, neighbours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

import torch
from torch import Tensor

from narrows.audit.evidence.features import Feature, Features
from narrows.audit.evidence.passing import FeatureExample
from narrows.audit.evidence.streams import FINEST
from narrows.audit.report.finding import Chart, Gallery, distribution
from narrows.audit.report.html import page_of
from narrows.audit.report.pictures import render
from narrows.audit.report.report import shown
from narrows.audit.report.svg import draw
from narrows.kernels.metrics import dense_above

__all__ = ["feature_page"]

_BARS_WIDE, _BARS_HIGH = 150, 44
_POINTS = 64


class Card(NamedTuple):
    """A latent on the page."""

    feature: Feature
    bars: str
    top: list[tuple[str, str]]
    others: list[tuple[str, str]]
    pictures: str
    atom: str
    words: str


def feature_page(features: Features, *, method: str = "", data: str = "", report: str = "") -> str:
    """The page of features as HTML.

    Args:
        features: from `features.collect`.
        method: the method's name.
        data: the data's name.
        report: address of the report's page, or empty.

    Raises:
        WorkError: Jinja2 or Pillow is not installed.
    """
    known = {feature.latent for feature in features.features}
    title = " on ".join(part for part in (method, data) if part) or "A model"
    living = features.density[features.density > 0]
    dense = int((features.density > dense_above(features.density)).sum())
    return page_of(
        "features.html",
        title=f"Features of {title}",
        report=report,
        features=features,
        cards=[_card(feature, features.kind) for feature in features.features],
        known=known,
        total=[
            ("Latents", f"{features.width:,}"),
            ("Ever on", f"{len(living):,}"),
            ("Dead here", f"{features.width - len(living):,}"),
            ("Dense", f"{dense:,}"),
            ("Shown", f"{len(features.features):,}"),
            ("Counted on", f"{features.examples:,}"),
            ("Examples from", f"{features.searched:,}"),
        ],
        density=draw(_density(living)) if len(living) else "",
        number=shown,
    )


def _density(living: Tensor) -> Chart:
    axis = "log10 of the share of examples in which it is on"
    return distribution(
        "density",
        "Firing density of all latents that are not dead",
        "",
        "latents",
        torch.log10(living),
        axis,
    )


def _card(feature: Feature, kind: str) -> Card:
    text = kind == "text"
    drawn, words = ("", ""), ""
    if text:
        tokens = [
            w for s in (*feature.top, *feature.others) for w, v in zip(s.words, s.values, strict=True) if v
        ]
        promoted = [token for token, _ in feature.promoted]
        words = " ".join(dict.fromkeys(w.strip().lower() for w in (*tokens, *promoted)))
    else:
        drawn = _pictures(feature, kind)
    return Card(
        feature,
        _bars(feature.bins),
        [_line(s, feature.largest) for s in feature.top] if text else [],
        [_line(s, feature.largest) for s in feature.others] if text else [],
        *drawn,
        words,
    )


def _line(example: FeatureExample, largest: float) -> tuple[str, str]:
    """The value, and the tokens as HTML: shaded by the latent's activation, the example marked."""
    parts = []
    for at, (word, value) in enumerate(zip(example.words, example.values, strict=True)):
        text = escape(word.replace("\n", "⏎").replace("\t", "⇥"))
        if not value and at != example.at:
            parts.append(text)
            continue
        strength = min(1.0, abs(value or 0.0) / (largest or 1.0))
        kind = " n" if (value or 0.0) < 0 else ""
        tag = "b" if at == example.at else "i"
        parts.append(
            f'<{tag} class="a{kind}" style="--a:{100 * strength:.0f}%" title="{value or 0:.3g}">{text}</{tag}>'
        )
    return f"{example.value:.3g}", "".join(parts).strip()


def _bars(bins: Sequence[int]) -> str:
    """The histogram of a latent's activations, in half octaves, as a small SVG; empty for a dead latent."""
    held = [i for i, count in enumerate(bins) if count]
    if not held:
        return ""
    first, last = held[0], held[-1]
    wide, high = _BARS_WIDE / (last - first + 1), max(bins)
    parts = []
    for i in range(first, last + 1):
        tall, low = (_BARS_HIGH - 2) * bins[i] / high, 2 ** (FINEST + i / 2)
        position = f'x="{(i - first) * wide:.1f}" y="{_BARS_HIGH - tall:.1f}"'
        size = f'width="{max(0.5, wide - 1):.1f}" height="{tall:.1f}"'
        title = f"{low:.3g} to {low * math.sqrt(2):.3g}: {bins[i]:,}"
        parts.append(f'<rect class="t1" {position} {size}><title>{title}</title></rect>')
    ends = [f"{2 ** (FINEST + i / 2):.2g}" for i in (first, last + 1)]
    box, below = f"0 0 {_BARS_WIDE} {_BARS_HIGH + 13}", _BARS_HIGH + 11
    return (
        f'<svg class="bars" viewBox="{box}" role="img" aria-label="histogram of activations">{"".join(parts)}'
        f'<text x="0" y="{below}">{ends[0]}</text>'
        f'<text x="{_BARS_WIDE}" y="{below}" text-anchor="end">{ends[1]}</text></svg>'
    )


def _pictures(feature: Feature, kind: str) -> tuple[str, str]:
    """The examples and the latent's atom, as pictures or curves."""
    shown = {
        "largest": [s.x for s in feature.top if s.x is not None],
        "at random": [s.x for s in feature.others if s.x is not None],
        "atom": [] if feature.atom is None else [feature.atom],
    }
    made = {}
    for name, some in shown.items():
        few = some if kind == "images" else [_short(x) for x in some[:3]]
        rows = (("", torch.stack(few)),) if few else ()
        gallery = Gallery(name, f"latent {feature.latent}, {name}", "", rows, signed=name == "atom")
        strips = "".join(strip.html for strip in render(gallery))
        made[name] = f'<p class="row-label">{name}</p>{strips}' if strips else ""
    return made["largest"] + made["at random"], made["atom"]


def _short(x: Tensor) -> Tensor:
    """A vector averaged to at most 64 points, so that the page stays small."""
    x = x.detach().float().flatten()
    return x if len(x) <= _POINTS else torch.nn.functional.adaptive_avg_pool1d(x[None], _POINTS)[0]
