"""The displacement r(x) - x of a reconstruction in the plane, and the score of the data where it is known."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from narrows.audit.evidence.view import View, device_of
from narrows.audit.metrics.geometry import nearest
from narrows.audit.report.finding import Chart, Check, Finding, Series
from narrows.core import Batch, seeded
from narrows.core.check import RequestError

__all__ = ["displacement"]

_GRID, _SHOWN = 17, 400
_ALIKE = 0.9
"""The cosine from which the displacement is called the score."""


@runtime_checkable
class _Scored(Protocol):
    """The process that generated the data, with the gradient of its log-density."""

    def score(self, x: np.ndarray, noise: float = 0.0) -> np.ndarray:
        """The score at points (N, D), of the data with Gaussian noise added to them, (N, D)."""
        ...


def displacement(view: View) -> Finding:
    """Cosine of r(x) - x with the score, the noise that its length says, and in the plane a picture of it."""
    x, shape = view.batch.x, view.model.likelihood.shape
    if view.batch.target is not x:
        return Finding()  # of a model that predicts something else, r(x) - x means nothing
    if view.rate is not None or not isinstance(x, Tensor) or x.ndim != 2 or view.weight is not None:
        return Finding()
    if view.model.conditions or tuple(shape) != tuple(x.shape[1:]) or not x.is_floating_point():
        return Finding()
    truth = view.known.truth
    checks = _alignment(view, x, truth) if isinstance(truth, _Scored) else ()
    figures = (_field(view, x),) if x.shape[1] == 2 else ()
    return Finding(checks, figures)


def _alignment(view: View, x: Tensor, truth: _Scored) -> tuple[Check, ...]:
    noise = float(getattr(view.model.encoder, "input_noise", 0.0))
    with seeded(view.seed):
        there = x + noise * torch.randn_like(x)
    try:
        exact, of = truth.score(there.numpy(), noise), f"of the data with noise {noise:.3g}, at such points"
    except RequestError:
        exact, of = truth.score(there.numpy()), f"of the data without noise, at points with noise {noise:.3g}"
    if noise == 0:
        of = "of the data"
    found = _moved(view, there).double().numpy()
    cosine = _cosine(found, exact)
    with seeded(view.seed):
        shuffled = found[torch.randperm(len(found)).numpy()]
    slope = float((found * exact).sum() / max((exact**2).sum(), 1e-300))
    says = f"Cosine of r(x) - x, over all points as one vector, with the exact score {of}."
    if cosine > _ALIKE:
        says += " Steps along r(x) - x climb the log-density."
    implied = "The s of r(x) - x = s^2 score(x), by least squares."
    if noise:
        implied += f" In training the input had noise {noise:.3g}."
    scale = Check("score/noise", slope**0.5, "", "info", implied, n=len(x))
    alike = Check("score/cosine", cosine, "", "info", says, _cosine(shuffled, exact), n=len(x))
    return (alike, scale) if slope > 0 else (alike,)


def _moved(view: View, x: Tensor) -> Tensor:
    """r(x) - x, (N, D)."""
    with torch.no_grad():
        r: Tensor = view.model.reconstruct(Batch(x.to(device_of(view.model))))
    return r.cpu() - x


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    """The cosine of two fields as wholes, so that long vectors count most."""
    return float((a * b).sum() / max(np.sqrt((a**2).sum() * (b**2).sum()), 1e-300))


def _field(view: View, x: Tensor) -> Chart:
    """Arrows of r(x) - x from a grid of points near the data, at most as long as a cell."""
    low, high = x.quantile(0.005, 0), x.quantile(0.995, 0)
    cell = (high - low) / (_GRID - 1)
    axes = [torch.linspace(float(a), float(b), _GRID) for a, b in zip(low, high, strict=True)]
    points = torch.cartesian_prod(*axes)
    points = points[nearest(points / cell, x / cell) < 1.5]
    moved = _moved(view, points)
    longest = (moved / cell).norm(dim=1, keepdim=True)
    moved = moved * (0.9 / longest.clamp_min(0.9))
    ends = torch.stack([points, points + moved], 1).flatten(0, 1)
    few = x[:_SHOWN]
    return Chart(
        "displacement",
        "What the reconstruction adds: r(x) - x",
        "Arrows from a grid of points near the data, cut to the width of a cell. Where they end, r(x) = x.",
        "points",
        (
            Series("data", tuple(few[:, 1].tolist()), tuple(few[:, 0].tolist()), 0),
            Series("r(x) - x", tuple(ends[:, 1].tolist()), tuple(ends[:, 0].tolist()), 1, "arrows"),
        ),
        x_label="x 0",
        y_label="x 1",
    )
