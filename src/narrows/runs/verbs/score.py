"""`score`: the anomaly score of each example, and the quantity that it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from narrows.audit.evidence.likelihood import importance_nll, predictive_nll
from narrows.core import Batch
from narrows.core.check import whole

if TYPE_CHECKING:
    from narrows.runs.run import Run

__all__ = ["score", "score_unit"]

_CHUNK = 128


def score(run: Run, data: Any, *, samples: int, seed: int, progress: Any) -> np.ndarray:
    """Anomaly score of each example, (N,): see `narrows.runs.run.Run.score`.

    Raises:
        RequestError: fewer than one sample.
    """
    whole("samples", samples)

    def one(batch: Batch) -> Tensor:
        if run.model.predicts:
            return predictive_nll(run.model, batch, samples=samples, seed=seed)
        if run.model.encode(batch).rate is not None:
            return importance_nll(run.model, batch, samples=samples, seed=seed)
        return run.model.likelihood.pass_nll(run.model(batch))

    return torch.cat(list(run._over(data, one, progress, "Scoring", chunk=_CHUNK))).double().numpy()


def score_unit(run: Run, data: Any) -> str:
    """The quantity that `score` returns: see `narrows.runs.run.Run.score_unit`."""
    if run.model.likelihood.unit == "nats":
        return "nll_nats"
    first = run.dataset(data).batch(slice(0, 1), run.model.conditions)
    with torch.no_grad():
        return "squared_error" if run.model.encode(first).rate is None else "nll_nats_without_constant"
