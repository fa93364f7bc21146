"""Pictures of originals, reconstructions and worst cases."""

from __future__ import annotations

import torch
from torch import Tensor

from narrows.audit.checks.error import per_example
from narrows.audit.evidence.fields import Grid, grid_of
from narrows.audit.evidence.view import View
from narrows.audit.report.finding import Finding, Gallery

__all__ = ["reconstructions"]

_SHOWN = 10


def reconstructions(view: View) -> Finding:
    """Evenly spaced examples and the worst ones, each above its reconstruction."""
    target = view.batch.target
    if view.mixed or not isinstance(target, Tensor):
        return Finding()
    if target.shape != view.output.shape and view.text is None:
        return Finding()
    if target[0].numel() < 2:
        return Finding()  # one number, such as a predicted label, is no picture
    step = max(1, len(view) // _SHOWN)
    typical = torch.arange(0, len(view), step)[:_SHOWN]
    errors = per_example(view) if view.text is None else view.distortion
    worst = errors.argsort(descending=True, stable=True)[:_SHOWN]
    return Finding(
        figures=(
            _pair(
                view,
                "reconstructions",
                "Reconstructions",
                "Examples from the whole data set, and their reconstructions.",
                typical,
            ),
            _pair(
                view,
                "worst",
                "Worst cases",
                "The examples with the largest errors, in order.",
                worst,
            ),
        )
    )


def _pair(view: View, name: str, title: str, says: str, rows: Tensor) -> Gallery:
    original = "original"
    shown: list[tuple[str, Tensor]] = []
    if view.batch.target is not view.batch.x:
        original = "target"
    target, output = view.batch.target[rows], view.output[rows]
    if view.forced is not None:
        shown = [(original, target), ("teacher-forced", view.forced[rows]), ("free-running", output)]
        if view.weight is not None and view.text is None:
            there = view.weight[rows] > 0  # padding and missing values are not drawn
            shown = [(label, x.masked_fill(~there, torch.nan)) for label, x in shown]
        return Gallery(name, title, says, tuple(shown), text=view.text)
    grid = grid_of(view)
    if grid is not None and isinstance(view.z, Tensor):
        label = "target" if "queries" in view.batch.condition else "original"
        return Gallery(name, title, says, ((label, _drawn(view, grid, rows)), *_decoded(view, grid, rows)))
    if view.weight is not None and view.weight.ndim == target.ndim:
        # A masked autoencoder is scored on the masked patches only: the others are its visible input.
        hidden = view.weight[rows].expand(target.shape)
        shown.append(("visible", torch.where(hidden > 0, target.new_full((), 0.5), target)))
    shown += [(original, target), ("reconstruction", output)]
    return Gallery(name, title, says, tuple(shown))


def _drawn(view: View, grid: Grid, rows: Tensor) -> Tensor:
    """The functions of some rows on a grid."""
    condition, target = view.batch.condition, view.batch.target[rows]
    positions = condition["queries" if "queries" in condition else "positions"][rows]
    known = None if view.weight is None else (view.weight[rows] > 0).expand(target.shape).any(-1)
    return grid.nearest(target, positions, known)


def _decoded(view: View, grid: Grid, rows: Tensor) -> tuple[tuple[str, Tensor]]:
    """The reconstructions of some rows, decoded at all points of a grid."""
    assert isinstance(view.z, Tensor)
    made = view.decode(view.z[rows], rows, queries=grid.queries(len(rows)))
    return (("reconstruction", grid.shaped(made)),)
