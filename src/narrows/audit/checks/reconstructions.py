"""Pictures: originals beside reconstructions, and the worst cases."""

from __future__ import annotations

import torch
from torch import Tensor

from narrows.audit.checks.error import per_example
from narrows.audit.evidence.view import View
from narrows.audit.report.finding import Finding, Gallery

__all__ = ["reconstructions"]

_SHOWN = 10


def reconstructions(view: View) -> Finding:
    """The first examples and the worst ones, each above what came back."""
    target = view.batch.target
    if view.mixed or not isinstance(target, Tensor) or target.shape != view.output.shape:
        return Finding()
    step = max(1, len(view) // _SHOWN)
    typical = torch.arange(0, len(view), step)[:_SHOWN]
    worst = per_example(view).argsort(descending=True, stable=True)[:_SHOWN]
    return Finding(
        figures=(
            _pair(
                view,
                "reconstructions",
                "Reconstructions",
                "Examples from all over the data, and what came back.",
                typical,
            ),
            _pair(
                view,
                "worst",
                "Worst cases",
                "The largest errors first: what kinds of example are these?",
                worst,
            ),
        )
    )


def _pair(view: View, name: str, title: str, says: str, rows: Tensor) -> Gallery:
    original = "original"
    shown: list[tuple[str, Tensor]] = []
    if view.batch.target is not view.batch.x:
        original = "target"
    target = view.batch.target[rows]
    if view.weight is not None and view.weight.ndim == target.ndim:
        # What the model was not asked for is what it saw: masked autoencoders.
        hidden = view.weight[rows].expand(target.shape)
        shown.append(("seen", torch.where(hidden > 0, target.new_full((), 0.5), target)))
    shown += [(original, target), ("reconstruction", view.output[rows])]
    return Gallery(name, title, says, tuple(shown))
