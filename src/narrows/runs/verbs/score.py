"""`score`: the anomaly score of each example, and the quantity that it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from narrows.audit.evidence.scores import SAMPLES, score_terms
from narrows.core import Batch
from narrows.core.check import RequestError, choice, whole

if TYPE_CHECKING:
    from narrows.runs.run import Run

__all__ = ["KINDS", "kind_of", "quantity", "score", "terms"]

KINDS = ("nll", "distortion", "rate", "typicality")
"""The kinds of scores."""

_CHUNK, _WIDE = 128, 1024
"""Rows that are scored at once, and those of tables with few columns."""


def score(
    run: Run,
    data: Any,
    kind: str | None,
    calibration: Any,
    *,
    samples: int | None,
    seed: int,
    progress: Any,
) -> np.ndarray:
    """Anomaly score of each example, (N,): see `narrows.runs.run.Run.score`."""
    kind = kind_of(run, data, kind)
    if kind == "typicality":
        known = run.calibration(calibration, progress=progress)
        samples = known.samples if samples is None else samples
        found = terms(run, data, samples=samples, seed=seed, progress=progress)
        return np.abs(found["nll"] - known.centre)
    samples = SAMPLES if samples is None else samples
    return terms(run, data, samples=samples, seed=seed, progress=progress)[kind]


def terms(
    run: Run, data: Any, *, samples: int, seed: int, progress: Any = None, elements: bool = False
) -> dict[str, np.ndarray]:
    """The terms of the scores of all examples, float64, means over the runs of a group.

    See `narrows.audit.evidence.scores.score_terms`.

    Raises:
        RequestError: fewer than one sample.
    """
    whole("samples", samples)

    def one(batch: Batch) -> dict[str, Tensor]:
        each = [score_terms(member.model, batch, samples, seed, elements) for member in run.members]
        return {name: torch.stack([found[name] for found in each]).mean(0) for name in each[0]}

    shape = run.recipe.spec.shape
    chunk = _WIDE if len(shape) == 1 and shape[0] <= 64 else _CHUNK
    parts = list(run._over(data, one, progress, "Scoring", chunk=chunk))
    return {name: torch.cat([part[name] for part in parts]).double().numpy() for name in parts[0]}


def kind_of(run: Run, data: Any, kind: str | None) -> str:
    """The kind of score: the given one, or ``nll`` with a posterior and else ``distortion``.

    Raises:
        RequestError: an unknown kind, or one that the model does not have.
    """
    if kind is not None:
        choice("kind", kind, KINDS)
    if run.model.predicts:
        has: tuple[str, ...] = ("nll", "typicality")
    else:
        first = run.dataset(data).batch(slice(0, 1), run.model.conditions)
        with torch.no_grad():
            has = ("distortion",) if run.model.encode(first).rate is None else KINDS
    if kind is not None and kind not in has:
        why = (
            "it predicts a target from x" if run.model.predicts else "its code has no posterior and no prior"
        )
        raise RequestError(
            f"``kind={kind!r}`` is not defined for `{run.method}`: {why}. Use ``kind={has[0]!r}``, or fit a method "
            "with a posterior, such as `vae`."
        )
    return kind or has[0]


def quantity(run: Run, kind: str) -> str:
    """The name of a score's column, with its unit: see `narrows.runs.run.Run.score_unit`."""
    unit = run.model.likelihood.unit
    if unit.endswith(" nats") and kind != "rate":
        return f"{kind}_{unit.replace(' ', '_')}"
    if kind in ("rate", "typicality") or unit == "nats":
        return f"{kind}_nats"
    return unit.replace(" ", "_") if kind == "distortion" else "nll_nats_without_constant"
