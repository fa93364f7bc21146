"""`reconstruct`: encode and decode data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from narrows.core import Batch
from narrows.core.check import RequestError
from narrows.runs.codes import concatenated
from narrows.runs.verbs.grid import queries

if TYPE_CHECKING:
    from narrows.runs.run import Run

__all__ = ["check_decodes", "reconstruct"]


def reconstruct(run: Run, data: Any = None, *, resolution: float | None, progress: Any) -> Any:
    """Reconstructions of data, (N, *shape), in the units of the data; for several modalities a dict by name.

    Args:
        run: the run.
        data: the data to reconstruct; the test split of the run if None.
        resolution: for fields: number of points along each coordinate of a grid, as a multiple of that of the training
            data. If None, the points of the data. Fields with fewer points and shorter series are padded with NaN.
        progress: a `narrows.core.progress.Progress`, or None.

    Raises:
        RequestError: a resolution for data that are not fields, or a run that decodes no examples.
    """
    check_decodes(run)
    points = queries(run, resolution)

    def one(batch: Batch) -> Any:
        if points:
            z = run.model.encode(batch).z
            return run.model.likelihood.mean(run.model.decode(z, {**batch.condition, **points}))
        output: Any = run.model.reconstruct(batch)
        name = "mask" if run.model.likelihood.any_length else "positions_mask"
        mask = None if isinstance(output, Mapping) else batch.condition.get(name)
        return output if mask is None else torch.where(mask[..., None], output, torch.nan)

    return run._units(concatenated(run._over(data, one, progress, "Reconstructing"), torch.nan))


def check_decodes(run: Run) -> None:
    """Raise an error if the model decodes no examples.

    Raises:
        RequestError: it predicts a target.
    """
    if run.model.predicts:
        raise RequestError(f"`{run.method}` predicts a target and decodes no examples. Use: narrows predict")
