"""Autoregressive decoders: whether they use the code, and what they write without the true elements."""

from __future__ import annotations

from torch import Tensor

from narrows.audit.evidence.reseeds import spread
from narrows.audit.evidence.view import View
from narrows.audit.report.finding import Check, Finding
from narrows.kernels.metrics import fvu

__all__ = ["decoder"]

_IGNORED = 0.01
"""The share of the distortion below which the code makes no difference."""


def decoder(view: View) -> Finding:
    """The gain from the code, and reconstructions that are free-running and teacher-forced."""
    if view.forced is None or view.swapped is None or len(view) < 2:
        return Finding()
    target = view.batch.target
    steps = min(target.shape[1], view.output.shape[1])
    free = view.output[:, :steps]
    return Finding((_gain(view), *_both(view, target[:, :steps], free, view.forced[:, :steps])))


def _gain(view: View) -> Check:
    assert view.swapped is not None
    own, each = float(view.distortion.double().mean()), (view.swapped - view.distortion).double()
    gain = float(each.mean())
    over, n = spread(lambda rows: float(each[rows].mean()), len(each), view.seed), len(each)
    says = "What -log p(x | z) loses when each example is decoded from the code of another one."
    if gain < _IGNORED * abs(own):
        says += (
            " The decoder ignores the code and predicts each element from those before it: posterior collapse. "
            "Hide more of them (a larger word_dropout), warm up beta more slowly, or use free bits or a weaker decoder."
        )
        return Check("decoder/gain", gain, "nats", "bad", says, 0.0, over, n)
    return Check("decoder/gain", gain, "nats", "ok", says, 0.0, over, n)


def _both(view: View, target: Tensor, free: Tensor, forced: Tensor) -> list[Check]:
    weight = None if view.weight is None else view.weight[:, : target.shape[1]]
    said = (
        ("teacher-forced", forced, "each element predicted after the true ones before it"),
        ("free-running", free, "written from the code alone, each element after those written before"),
    )
    if view.model.likelihood.discrete:
        what = "The share of elements that are the true ones"
        return [Check(f"accuracy/{n}", _share(x, target, weight), says=f"{what}: {s}.") for n, x, s in said]
    what = "The unexplained share of the variance of reconstructions"
    return [Check(f"fvu/{n}", fvu(target, x, weight), says=f"{what}: {s}.") for n, x, s in said]


def _share(x: Tensor, target: Tensor, weight: Tensor | None) -> float:
    right = (x == target).double()
    counts = right.new_ones(()).expand_as(right) if weight is None else weight.double().expand_as(right)
    return float((right * counts).sum() / counts.sum().clamp_min(1e-12))
