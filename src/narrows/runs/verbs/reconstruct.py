"""The verb `reconstruct`: data through the code and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from narrows.core import Batch
from narrows.runs.codes import together
from narrows.runs.verbs.grid import queries

if TYPE_CHECKING:
    from narrows.runs.run import Run

__all__ = ["reconstruct"]


def reconstruct(run: Run, data: Any = None, *, resolution: float | None, progress: Any) -> Any:
    """What the model makes of some data, (N, *shape), in the units of the data; by name of several modalities.

    Args:
        run: the run.
        data: what is reconstructed; the run's own test part when None.
        resolution: of fields, so many times the points along each coordinate that the data of the fit have, on a grid;
            the points of the data when None, padded with NaN where their numbers differ.
        progress: a `narrows.core.progress.Progress`, or None.

    Raises:
        RequestError: a resolution of data that are no fields.
    """
    asked = queries(run, resolution)

    def one(batch: Batch) -> Any:
        if asked:
            z = run.model.encode(batch).z
            return run.model.likelihood.mean(run.model.decode(z, {**batch.condition, **asked}))
        made: Any = run.model.reconstruct(batch)
        there = None if isinstance(made, Mapping) else batch.condition.get("positions_mask")
        return made if there is None else torch.where(there[..., None], made, torch.nan)

    parts = list(run._over(data, one, progress, "Reconstructing"))
    return run._units(together(parts) if isinstance(parts[0], Mapping) else _joined(parts))


def _joined(parts: list[Tensor]) -> Tensor:
    """The rows of all chunks; where their numbers of points differ, padded with NaN."""
    longest = max((p.shape[1] for p in parts if p.dim() > 1), default=0)

    def padded(p: Tensor) -> Tensor:
        more = longest - p.shape[1]
        return torch.cat([p, p.new_full((len(p), more, *p.shape[2:]), torch.nan)], 1) if more else p

    return torch.cat([p if p.dim() < 2 else padded(p) for p in parts])
