"""Series without holes: missing steps and cells are filled, and steps after the end forecast."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from narrows import data as nd
from narrows.data import Dataset
from narrows.data.readers.npy import read_npz
from narrows.data.readers.series import SeriesRows
from narrows.data.readers.series_cells import SeriesCells, cells_of_arrays, cells_of_table
from narrows.data.sequences import series_like
from narrows.data.stores import Ragged
from narrows.runs.verbs.imputed import How, Imputed, completions, is_table

if TYPE_CHECKING:
    from narrows.runs.run import Run

__all__ = ["impute_series"]

_SAMPLES = 200
"""So many codes are drawn for each series."""
_TOLD = ("series", "time", "columns", "labels")


def impute_series(run: Run, data: Any, how: How, options: Mapping[str, Any]) -> Imputed:
    """Fill the holes of series, and append and fill `how.horizon` steps.

    Args:
        run: a run of a method whose examples may have any number of steps.
        data: a table in long form, arrays, or None for the run's own test part.
        how: how it is filled.
        options: of `narrows.data.open`, for how the file is read.

    Raises:
        RequestError: series that are not like those of the fit.
    """
    told = {**run.recipe.data, **options}
    found = _opened(run, data, told, options)
    holes = {name: found.cells.holes(name) for name in found.columns}
    if how.horizon:
        found = found.extended(how.horizon)
    rows = found.rows(None if isinstance(data, Dataset) or data is None else told.get("window"))
    dataset = series_like(rows.raw(), run.recipe.data_name, run.recipe.data)
    gone = np.isnan(rows.values)
    wanted = np.flatnonzero(np.add.reduceat(gone.any(1), rows.starts))
    values, ess = _values(run, dataset, rows, wanted, how)
    if run.recipe.spec.values == "binary":
        values = np.rint(values)
    filled = found.cells.repeated(how.draws) if how.draws else found.cells
    for place, name in enumerate(found.columns):
        column = np.empty(values.shape[:2])
        column[:, found.order] = values[:, :, place]
        filled.fill(name, column[:, found.cells.holes(name)].ravel().tolist())
    return Imputed(
        filled,
        {name: int(gaps.sum()) for name, gaps in holes.items() if gaps.any()},
        {},
        tuple(n for n in filled.columns if n not in (*found.columns, "draw") and filled.holes(n).any()),
        ess,
        how.draws,
        how.horizon * len(found.ends),
        found.packed,
    )


def _values(
    run: Run, dataset: Dataset, rows: SeriesRows, wanted: np.ndarray, how: How
) -> tuple[np.ndarray, np.ndarray]:
    """What may be in each cell of all steps, in the units of the data, (max(M, 1), total, C), and the sample sizes."""
    values = np.empty((max(how.draws, 1), *rows.values.shape))
    sizes = [np.empty(0)]
    for numbers, made in completions(run, dataset, wanted, how, _SAMPLES):
        cells = made.draws if how.draws else made.cells[None]
        units = dataset.scaling.invert(cells.flatten(0, 1)).unflatten(0, cells.shape[:2]).double().numpy()
        for place, number in enumerate(numbers):
            first, end = rows.starts[number], rows.ends[number]
            values[:, first:end] = units[:, place, : end - first]
        sizes.append(made.ess.numpy())
    return values, np.concatenate(sizes)


def _opened(run: Run, data: Any, told: Mapping[str, Any], options: Mapping[str, Any]) -> SeriesCells:
    """Series as they were given, with their own cells."""
    if is_table(data):
        return cells_of_table(Path(data), {name: told.get(name) for name in _TOLD})
    if (
        isinstance(data, (str, Path))
        and Path(data).suffix.lower() in (".npz", ".npy")
        and Path(data).is_file()
    ):
        if Path(data).suffix.lower() == ".npy":
            return cells_of_arrays({"x": np.load(data, allow_pickle=False)}, plain=True)
        arrays = read_npz(Path(data), None)[1]
        return cells_of_arrays(
            {**arrays, "x": arrays[key]} if (key := told.get("key", "x")) in arrays else arrays
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
