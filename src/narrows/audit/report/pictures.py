"""Examples as pictures: strips of images as inline PNG, anything else as curves in SVG."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

import torch
from torch import Tensor

from narrows.audit.report.finding import Gallery, Texts
from narrows.audit.report.svg import Frame, polyline
from narrows.core.check import optional

__all__ = ["Strip", "render"]

_LEAST, _MOST, _GAP = 64, 128, 4
_PANELS, _WIDE, _HIGH, _LONGEST = 12, 200, 96, 256


class Strip(NamedTuple):
    """A labelled row of a rendered gallery, as escaped HTML."""

    label: str
    html: str


def render(gallery: Gallery) -> list[Strip]:
    """The rows of a gallery as HTML."""
    if gallery.text is not None:
        return _texts(gallery.text, gallery.rows)
    rows = [(label, shown.detach().float()) for label, shown in gallery.rows if len(shown)]
    if not rows:
        return []
    if rows[0][1].ndim == 4:
        return _images(gallery, rows)
    return _by_row(rows) if gallery.panels == "row" else _by_column(gallery, rows)


def _texts(text: Texts, rows: Sequence[tuple[str, Tensor]]) -> list[Strip]:
    """A list of texts for each row."""
    return [
        Strip(label, f'<ol class="texts">{"".join(f"<li>{escape(line)}</li>" for line in text(shown))}</ol>')
        for label, shown in rows
        if len(shown)
    ]


def _images(gallery: Gallery, rows: list[tuple[str, Tensor]]) -> list[Strip]:
    # The originals determine the scale, so that a reconstruction with outliers does not dim them.
    truth = [shown for label, shown in rows if label.endswith(("original", "target"))] or [
        shown for _, shown in rows
    ]
    low, high = min(float(t.min()) for t in truth), max(float(t.max()) for t in truth)
    strips = []
    for label, shown in rows:
        if gallery.signed:
            reach = shown.abs().flatten(1).amax(1).clamp_min(1e-12).reshape(-1, 1, 1, 1)
            grey = 0.5 + 0.5 * shown / reach
        elif low >= -1e-3 and high <= 1 + 1e-3:
            grey = shown
        else:
            grey = (shown - low) / max(high - low, 1e-12)
        data = _png(grey.clamp(0, 1))
        alt = f"{gallery.title}: {label}" if label else gallery.title
        strips.append(
            Strip(label, f'<img class="strip" alt="{escape(alt)}" src="data:image/png;base64,{data}">')
        )
    return strips


def _png(images: Tensor) -> str:
    """A row of images (n, C, H, W) from 0 to 1, with transparent gaps, as base64."""
    image = optional("PIL.Image", "report", "draw pictures")
    n, channels, height, width = images.shape
    colour = images[:, :3] if channels >= 3 else images[:, :1].expand(-1, 3, -1, -1)
    opaque = torch.cat([colour, torch.ones(n, 1, height, width)], 1)
    size = max(height, width)
    if size > _MOST:
        share = (max(1, height * _MOST // size), max(1, width * _MOST // size))
        opaque = torch.nn.functional.interpolate(opaque, size=share, mode="area")
    else:
        times = max(1, _LEAST // size)
        opaque = opaque.repeat_interleave(times, 2).repeat_interleave(times, 3)
    spaced = torch.nn.functional.pad(opaque, (0, _GAP))
    strip = spaced.permute(2, 0, 3, 1).flatten(1, 2)[:, :-_GAP]
    pixels = (strip * 255).round().to(torch.uint8).numpy()
    out = io.BytesIO()
    image.fromarray(pixels, "RGBA").save(out, "PNG", optimize=True)
    return base64.b64encode(out.getvalue()).decode()


def _by_column(gallery: Gallery, rows: list[tuple[str, Tensor]]) -> list[Strip]:
    """A panel for each example; rows of the same examples share their panels."""
    rows = [(label, shown) for label, shown in rows if label != "visible"]
    together = (
        len({len(shown) for _, shown in rows}) == 1 and len(rows) > 1 and all(label for label, _ in rows)
    )
    if gallery.name == "samples" or gallery.signed or not together:
        curves = torch.cat([shown for _, shown in rows])[:_PANELS]
        return [Strip("", _panels([[(curve, _ink(1))] for curve in curves]))]
    panels = [
        [(shown[i], _ink(tone)) for tone, (_, shown) in enumerate(rows, start=1)]
        for i in range(min(_PANELS, len(rows[0][1])))
    ]
    return [Strip("", _legend([label for label, _ in rows]) + _panels(panels))]


def _by_row(rows: list[tuple[str, Tensor]]) -> list[Strip]:
    """A panel for each row; the steps of a traversal go from one colour to another."""
    panels = []
    for _, shown in rows:
        last = max(1, len(shown) - 1)
        mixed = [f"color-mix(in srgb,var(--c1) {100 * i / last:.0f}%,var(--c2))" for i in range(len(shown))]
        panels.append(list(zip(shown, mixed, strict=True)))
    return [Strip("", _legend(["high", "low"]) + _panels(panels, [label for label, _ in rows]))]


def _ink(tone: int) -> str:
    return f"var(--c{(tone - 1) % 6 + 1})"


def _legend(labels: list[str]) -> str:
    items = [f'<li><i class="b{i % 6 + 1}"></i>{escape(label)}</li>' for i, label in enumerate(labels)]
    return f'<ul class="legend">{"".join(items)}</ul>'


def _panels(panels: list[list[tuple[Tensor, str]]], captions: list[str] | None = None) -> str:
    """Small charts side by side, each of curves with their colours."""
    parts = []
    for number, curves in enumerate(panels):
        values = torch.cat([curve.flatten() for curve, _ in curves])
        values = values[values.isfinite()] if bool(values.isfinite().any()) else values.new_zeros(1)
        low, high = float(values.min()), float(values.max())
        end = max(2, min(len(curves[0][0]), _LONGEST)) - 1
        frame = Frame((0, end), (low, max(high, low + 1e-9)), False, 3, _WIDE - 3, 5, _HIGH - 5)
        lines = "".join(_curve(frame, curve, colour) for curve, colour in curves)
        caption = f"<figcaption>{escape(captions[number])}</figcaption>" if captions else ""
        parts.append(
            f'<figure><svg viewBox="0 0 {_WIDE} {_HIGH}" aria-hidden="true">{lines}</svg>{caption}</figure>'
        )
    return f'<div class="panels">{"".join(parts)}</div>'


def _curve(frame: Frame, curve: Tensor, colour: str) -> str:
    """A vector as one line over its coordinates; a sequence as one line for each of its first three channels."""
    channels = [curve] if curve.ndim == 1 else list(curve.reshape(len(curve), -1)[:, :3].T)
    style = f'class="curve" style="stroke:{colour}"'
    parts = []
    for channel in channels:
        if len(channel) > _LONGEST:
            channel = torch.nn.functional.interpolate(channel[None, None], _LONGEST, mode="linear")[0, 0]
        parts.append(polyline(frame, [float(i) for i in range(len(channel))], channel.tolist(), style))
    return "".join(parts)
