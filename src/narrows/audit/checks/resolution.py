"""The error of fields against the number of points that the encoder sees."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from narrows.audit.evidence.fields import domain_of
from narrows.audit.evidence.view import View, device_of
from narrows.audit.report.finding import Chart, Check, Finding, Series
from narrows.core import Batch
from narrows.data.domain import Domain

__all__ = ["resolution"]

_STEPS = (1, 2, 4)
_EXAMPLES, _FEWEST = 256, 4
_LARGE = 2.0


def resolution(view: View) -> Finding:
    """The error at all points, of codes of every point, of every second and of every fourth along each coordinate."""
    domain = domain_of(view)
    if domain is None or "queries" in view.batch.condition or not isinstance(view.z, Tensor):
        return Finding()
    batch = view.batch[slice(0, _EXAMPLES)]
    kept = {step: _every(batch, domain, step) for step in _STEPS}
    kept = {step: rows for step, rows in kept.items() if len(rows) >= _FEWEST}
    errors = {step: _error(view, batch, domain, rows) for step, rows in kept.items()}
    ratios = {step: error / max(errors[1], 1e-30) for step, error in errors.items()} if 1 in errors else {}
    checks = tuple(
        _check(f"resolution/{name}", ratios[step], len(kept[step]), judged=step == 2)
        for step, name in ((2, "half"), (4, "quarter"))
        if step in ratios
    )
    chart = Chart(
        "resolution",
        "Error and resolution",
        "Of codes of all points and of some; always measured at all of them. A flat line: the code does not depend on "
        "the grid.",
        "lines",
        (
            Series(
                "error",
                tuple(ratios[step] for step in reversed(ratios)),
                tuple(float(len(kept[step])) for step in reversed(ratios)),
            ),
        ),
        "points that the encoder sees",
        "error, times",
    )
    return Finding(checks, (chart,) if checks else ())


def _check(name: str, ratio: float, points: int, judged: bool) -> Check:
    says = f"The error of codes of {points} points over that of codes of all; both measured at all points."
    if not judged:
        return Check(name, ratio, "times", "info", says)
    if ratio > _LARGE:
        fix = "So few points do not show the detail of the functions, or the code depends on the grid."
        return Check(name, ratio, "times", "warn", f"{says} {fix}")
    return Check(name, ratio, "times", "ok", says)


def _every(batch: Batch, domain: Domain, step: int) -> Tensor:
    """Every so many points along each coordinate; of scattered points in order on a line, else at random."""
    count = batch.x.shape[1]
    if math.prod(domain.grid) == count:
        index = torch.arange(count).reshape(domain.grid)
        return index[tuple(slice(None, None, step) for _ in domain.grid)].flatten()
    if domain.k == 1:
        return batch.condition["positions"][0, :, 0].argsort(stable=True)[::step]
    return torch.randperm(count)[: count // step**domain.k].sort().values


def _error(view: View, batch: Batch, domain: Domain, kept: Tensor) -> float:
    """The weighted mean squared error at all points, of codes of some points."""
    names = ("positions", "mask", "observed", "quadrature")
    condition = {k: v[:, kept] if k in names else v for k, v in batch.condition.items()}
    if "quadrature" in condition and domain.k == 1:
        condition["quadrature"] = domain.quadrature(condition["positions"], condition.get("mask"))
    weight = None if batch.weight is None else batch.weight[:, kept]
    seen = Batch(batch.x[:, kept], condition=condition, weight=weight).to(device_of(view.model))
    z = view.model.encode(seen).z
    made = view.decode(z, queries=batch.condition["positions"]).double()
    squared = (made - batch.target.double()).square()
    counts = torch.ones_like(squared) if batch.weight is None else batch.weight.double().expand(squared.shape)
    total = torch.where(counts > 0, squared * counts, 0.0).sum()
    return float(total / counts.sum().clamp_min(1e-12))
