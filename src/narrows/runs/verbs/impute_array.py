"""`impute` for images and other arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from narrows import data as nd
from narrows.data import Dataset
from narrows.data.opening import raw_like
from narrows.data.readers.cells import Cells
from narrows.runs.verbs.imputed import How, Imputed, completions

if TYPE_CHECKING:
    from narrows.runs.run import Run

__all__ = ["impute_array"]

_SAMPLES = 200
"""Number of codes drawn for each example by default."""


def impute_array(run: Run, data: Any, how: How, options: Mapping[str, Any]) -> Imputed:
    """Impute the missing values of arrays (N, ...), which keep their layout and units.

    Args:
        run: a run of a method that was fitted on arrays with missing values.
        data: a file, an array, or None for the test split of the run.
        how: the arguments of `impute`.
        options: options of `narrows.data.open` for reading the file.

    Raises:
        RequestError: the data differ in shape from those of the fit.
    """
    dataset, x = _opened(run, data, options)
    missing = np.isnan(x)
    rows = np.flatnonzero(missing.reshape(len(x), -1).any(1))
    planes = np.repeat(x[None], how.height, 0)
    planes[1 if not how.draws else how.draws :][:, ~missing] = np.nan  # the ends of intervals
    ess = np.full(len(x), np.nan)
    for some, found in completions(run, dataset, rows, how, _SAMPLES):
        cells = how.planes(found)
        units = dataset.scaling.invert(cells.flatten(0, 1)).unflatten(0, cells.shape[:2]).numpy()
        values = _laid_out(units, x.shape[1:], dataset.shape)
        holes = missing[some]
        for plane, value in zip(planes, values, strict=True):
            part = plane[some]
            part[holes] = value[holes]
            plane[some] = part
        ess[some] = found.ess.numpy()
    columns = {"x": planes if how.draws else planes[0]}
    if how.interval:
        columns |= {"x_lower": planes[1], "x_upper": planes[2]}
    if how.ess:
        columns["ess"] = ess
    return Imputed(
        Cells(columns),
        {"x": int(missing.sum())} if missing.any() else {},
        {},
        (),
        ess[rows],
        how.draws,
        packed=lambda found, _: found["x"],
        read=("x",),
    )


def _opened(run: Run, data: Any, options: Mapping[str, Any]) -> tuple[Dataset, np.ndarray]:
    """Data as the model reads them, and as they were given."""
    if data is None or isinstance(data, Dataset):
        dataset = run.data.test if data is None else data
        assert isinstance(dataset.x, Tensor)
        return dataset, dataset.x.numpy()
    form = run.recipe.data
    dataset = nd.like(form, data, **options)
    raw = data if isinstance(data, np.ndarray) else raw_like(form, data, **options).x
    x = np.asarray(raw)
    return dataset, x if x.dtype.kind == "f" else x.astype(np.float32)


def _laid_out(x: np.ndarray, layout: tuple[int, ...], shape: tuple[int, ...]) -> np.ndarray:
    """Examples (P, B, *shape) in the layout of the data."""
    if layout == shape:
        return x
    return x[:, :, 0] if len(layout) < len(shape) else np.moveaxis(x, 2, -1)
