"""`impute` for series: imputation of missing steps and cells, and forecasts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from narrows import data as nd
from narrows.core.check import refuse
from narrows.data import Dataset
from narrows.data.readers.npy import read_npz
from narrows.data.readers.series_cells import SeriesCells, cells_of_arrays, cells_of_table
from narrows.data.readers.series_rows import SeriesRows
from narrows.data.sequences import series_like
from narrows.data.stores import Ragged
from narrows.runs.verbs.imputed import How, Imputed, completions, fill, is_table

if TYPE_CHECKING:
    from narrows.runs.run import Run

__all__ = ["impute_series"]

_SAMPLES = 200
"""Number of codes drawn for each series by default."""
_OPTIONS = ("series", "time", "columns", "labels")


def impute_series(run: Run, data: Any, how: How, options: Mapping[str, Any]) -> Imputed:
    """Impute missing values of series, and append a forecast of `how.horizon` steps.

    Args:
        run: a run of a method for series.
        data: a table in long form, arrays, or None for the test split of the run.
        how: the arguments of `impute`.
        options: options of `narrows.data.open` for reading the file.

    Raises:
        RequestError: the series differ in kind from those of the fit.
    """
    if how.interval and run.recipe.spec.values == "binary":
        raise refuse("intervals", how.interval, "left out: the series are of zeros and ones")
    reading = {**run.recipe.data, **options}
    found = _opened(run, data, reading, options)
    holes = {name: found.cells.holes(name) for name in found.columns}
    if how.horizon:
        found = found.extended(how.horizon)
    rows = found.rows(_window(run, data, how.horizon, reading.get("window")))
    dataset = series_like(rows.raw(), run.recipe.data_name, run.recipe.data)
    missing = np.isnan(rows.values)
    incomplete = np.flatnonzero(np.add.reduceat(missing.any(1), rows.starts))
    values, ess = _values(run, dataset, rows, incomplete, how)
    if run.recipe.spec.values == "binary":
        values = np.rint(values)
    unread = tuple(n for n in found.cells.columns if n not in found.columns and found.cells.holes(n).any())
    filled = found.cells.repeated(how.draws) if how.draws else found.cells
    for index, name in enumerate(found.columns):
        column = np.empty(values.shape[:2])
        column[:, found.order] = values[:, :, index]
        planes = column[:, found.cells.holes(name)]
        fill(filled, name, (planes.reshape(1, -1) if how.draws else planes).tolist())
    return Imputed(
        filled,
        {name: int(gaps.sum()) for name, gaps in holes.items() if gaps.any()},
        {},
        unread,
        ess,
        how.draws,
        how.horizon * len(found.ends),
        found.packed,
        found.columns,
    )


def _window(run: Run, data: Any, horizon: int, window: int | None) -> int | None:
    """The largest number of steps of a window without those appended, or None for whole series.

    Raises:
        RequestError: a model of windows of fixed length is asked for a forecast that is longer.
    """
    if run.model.likelihood.any_length:
        return None if isinstance(data, Dataset) or data is None else window
    steps = int(run.recipe.spec.shape[0])
    if horizon >= steps:
        fix = "Fit longer windows, or `vrnn`, which reads series of any length."
        raise refuse("horizon", horizon, f"below {steps}, the steps of a window of this model", fix)
    return steps - horizon


def _values(
    run: Run, dataset: Dataset, rows: SeriesRows, incomplete: np.ndarray, how: How
) -> tuple[np.ndarray, np.ndarray]:
    """Values of all steps, in the units of the data, (P, total, C), and effective sample sizes."""
    values = np.empty((how.height, *rows.values.shape))
    sizes = [np.empty(0)]
    for numbers, chunk in completions(run, dataset, incomplete, how, _SAMPLES):
        cells = how.planes(chunk)
        units = dataset.scaling.invert(cells.flatten(0, 1)).unflatten(0, cells.shape[:2]).double().numpy()
        for index, number in enumerate(numbers):
            first, end = rows.starts[number], rows.ends[number]
            values[:, first:end] = units[:, index, : end - first]
        sizes.append(chunk.ess.numpy())
    return values, np.concatenate(sizes)


def _opened(run: Run, data: Any, reading: Mapping[str, Any], options: Mapping[str, Any]) -> SeriesCells:
    """The series, with their original cells."""
    if is_table(data):
        return cells_of_table(Path(data), {name: reading.get(name) for name in _OPTIONS})
    if (
        isinstance(data, (str, Path))
        and Path(data).suffix.lower() in (".npz", ".npy")
        and Path(data).is_file()
    ):
        if Path(data).suffix.lower() == ".npy":
            return cells_of_arrays({"x": np.load(data, allow_pickle=False)}, plain=True)
        arrays = read_npz(Path(data), None)[1]
        return cells_of_arrays(
            {**arrays, "x": arrays[key]} if (key := reading.get("key", "x")) in arrays else arrays
        )
    if isinstance(data, Mapping):
        return cells_of_arrays({name: np.asarray(value) for name, value in data.items()})
    if isinstance(data, (np.ndarray, Tensor)):
        return cells_of_arrays({"x": np.asarray(data)}, plain=True)
    dataset = run.data.test if data is None else data if isinstance(data, Dataset) else None
    return _cells(dataset or nd.like(run.recipe.data, data, **options))


def _cells(dataset: Dataset) -> SeriesCells:
    """Series of a data set, in the units of the data."""
    x = dataset.x
    if isinstance(x, Ragged):
        stores = {name: store for name, store in dataset.columns.items() if isinstance(store, Ragged)}
        arrays = {"x": x.values, "ends": x.ends}
        if "times" in stores:
            arrays["times"] = stores["times"].values
        return cells_of_arrays({name: value.numpy() for name, value in arrays.items()})
    examples = torch.as_tensor(np.asarray(x)).reshape(len(dataset), *dataset.shape)
    return cells_of_arrays({"x": examples.numpy()}, plain=True)
