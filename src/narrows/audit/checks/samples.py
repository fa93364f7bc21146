"""Pictures of samples from the prior."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from narrows.audit.evidence.fields import grid_of
from narrows.audit.evidence.view import View, device_of
from narrows.audit.report.finding import Finding, Gallery, Texts
from narrows.core.check import NarrowsError

__all__ = ["samples"]

_ROWS, _COLUMNS = 4, 10


def samples(view: View) -> Finding:
    """Decoded draws of the prior, by class if labels are a condition; empty without a prior."""
    count = _ROWS * _COLUMNS
    told = {*view.model.inputs, *(view.model.all_conditions if view.model.prior is not None else ())}
    if view.mixed or view.elements or not told <= {"labels"}:
        return Finding()  # rows of a table are not pictures, and the prior does not generate conditions
    labels: list[str] = [""] * _ROWS
    requested: dict[str, Tensor] = {}
    if told and "labels" in view.batch.condition:
        classes = view.batch.condition["labels"].shape[1]
        requested["labels"] = torch.eye(classes)[torch.arange(classes).repeat_interleave(_COLUMNS)]
        count, labels = len(requested["labels"]), [f"class {c}" for c in range(classes)]
    rows = torch.arange(count) % len(view.batch)
    like = {
        name: value[rows] for name, value in view.batch.condition.items()
    }  # times, positions: of real examples
    grid = grid_of(view)
    if grid is not None:
        requested["queries"] = grid.queries(count)
    condition = {name: value.to(device_of(view.model)) for name, value in {**like, **requested}.items()}
    try:
        drawn: Any = view.model.sample(count, condition)
    except NarrowsError:
        return Finding()
    if isinstance(drawn, Mapping):
        named = ((f"samples/{name}", f"Samples of {name}", x) for name, x in drawn.items() if x.dim() > 2)
        return Finding(figures=tuple(_gallery(*one, labels, None) for one in named))
    if not isinstance(drawn, Tensor) or drawn.dim() < 2:
        return Finding()
    drawn = drawn if grid is None else grid.shaped(drawn)
    return Finding(figures=(_gallery("samples", "Samples", drawn, labels, view.text),))


def _gallery(name: str, title: str, drawn: Tensor, labels: list[str], text: Texts | None) -> Gallery:
    shown = tuple(zip(labels, drawn.cpu().split(_COLUMNS), strict=True))
    return Gallery(name, title, "Decoded draws of the prior.", shown, text=text)
