"""`reconstruct`: encode and decode data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from narrows.core import Batch
from narrows.runs.codes import concatenated
from narrows.runs.verbs.grid import queries

if TYPE_CHECKING:
    from narrows.runs.run import Run

__all__ = ["reconstruct"]


def reconstruct(run: Run, data: Any = None, *, resolution: float | None, progress: Any) -> Any:
    """Reconstructions of data, (N, *shape), in the units of the data; for several modalities a dict by name.

    Args:
        run: the run.
        data: the data to reconstruct; the test split of the run if None.
        resolution: for fields: number of points along each coordinate of a grid, as a multiple of that of the training
            data. If None, the points of the data, padded with NaN to equal numbers.
        progress: a `narrows.core.progress.Progress`, or None.

    Raises:
        RequestError: a resolution for data that are not fields.
    """
    points = queries(run, resolution)

    def one(batch: Batch) -> Any:
        if points:
            z = run.model.encode(batch).z
            return run.model.likelihood.mean(run.model.decode(z, {**batch.condition, **points}))
        output: Any = run.model.reconstruct(batch)
        mask = None if isinstance(output, Mapping) else batch.condition.get("positions_mask")
        return output if mask is None else torch.where(mask[..., None], output, torch.nan)

    parts = list(run._over(data, one, progress, "Reconstructing"))
    return run._units(concatenated(parts) if isinstance(parts[0], Mapping) else _joined(parts))


def _joined(parts: list[Tensor]) -> Tensor:
    """The rows of all chunks, padded with NaN to equal numbers of points."""
    longest = max((p.shape[1] for p in parts if p.dim() > 1), default=0)

    def padded(p: Tensor) -> Tensor:
        padding = longest - p.shape[1]
        return torch.cat([p, p.new_full((len(p), padding, *p.shape[2:]), torch.nan)], 1) if padding else p

    return torch.cat([p if p.dim() < 2 else padded(p) for p in parts])
