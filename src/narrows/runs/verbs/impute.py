"""`impute`: fill missing values of tables and series; other values are not changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from narrows import data as nd
from narrows.core import Spec
from narrows.core.check import RequestError, number, refuse, whole
from narrows.core.columns import NUMBERS
from narrows.core.texts import names_of
from narrows.data import Dataset
from narrows.data.opening import raw_like
from narrows.data.readers.cells import Cells
from narrows.data.readers.frames import is_frame
from narrows.data.schema.written import cells_of, in_units, written
from narrows.runs.verbs.impute_array import impute_array
from narrows.runs.verbs.impute_series import impute_series
from narrows.runs.verbs.imputed import How, Imputed, completions, fill, is_table

if TYPE_CHECKING:
    from narrows.runs.run import Run

__all__ = ["impute"]

_SAMPLES = 1000


def impute(
    run: Run,
    data: Any = None,
    *,
    samples: int | None = None,
    draws: int = 0,
    seed: int = 0,
    horizon: int = 0,
    intervals: float = 0.0,
    ess: bool = False,
    progress: Any = None,
    **options: Any,
) -> Imputed:
    """Impute missing values of tables, arrays and series, given the observed ones.

    Args:
        run: a run that was fitted on a table, on arrays with missing values, or on series.
        data: a file, an array, or None for the test split of the run.
        samples: number of codes drawn for each row, by default 1000; for each series or array by default 200.
        draws: 0 for single imputation: the conditional mean of numbers, the most probable category. M > 0 for
            multiple imputation: M copies of the data, each with a draw from the conditional distribution.
        seed: random seed.
        horizon: for series: number of steps to forecast, which are appended to each.
        intervals: probability of an interval for each imputed number, such as 0.9, in two additional columns
            ``NAME_lower`` and ``NAME_upper``; 0 for none. It lies between quantiles of 1000 draws.
        ess: add a column ``ess`` with the effective sample size of each row of a table with missing cells.
        progress: a `narrows.core.progress.Progress`, or None.
        **options: options of `narrows.data.open` for reading the file.

    Raises:
        RequestError: the method does not read missing values, or the data differ in kind from those of the fit; an
            argument out of range; intervals of draws; the table has a column with the name of an added one.
    """
    samples = None if samples is None else whole("samples", samples)
    if not 0 <= number("intervals", intervals) < 1:
        raise refuse("intervals", intervals, "a probability below 1, such as 0.9")
    if draws and (intervals or ess):
        raise refuse("draws", draws, "left out with intervals and effective sample sizes", "Impute twice.")
    draws, horizon = whole("draws", draws, low=0), whole("horizon", horizon, low=0)
    how = How(samples, draws, seed, horizon, progress, intervals, ess)
    if run.model.likelihood.any_length or run.recipe.spec.kind == "series":
        if ess:
            raise refuse("ess", ess, "left out for series")
        return impute_series(run, data, how, options)
    arrays = "observed" in run.recipe.spec.conditions
    if run.recipe.spec.kind != "table" and not arrays:
        raise RequestError(
            f"`{run.method}` was fitted on complete examples, so it cannot impute missing values. "
            "Fit a table or an array with missing values with: narrows fit FILE --method missing-iwae (or vae, ae), "
            "or series with: --method vrnn"
        )
    if horizon:
        raise refuse(
            "horizon", horizon, "left out: only series can be forecast", "Fit series with: --method vrnn."
        )
    return (impute_array if arrays else _impute_table)(run, data, how, options)


def _impute_table(run: Run, data: Any, how: How, options: Mapping[str, Any]) -> Imputed:
    """Impute the missing cells of a table."""
    spec, form, draws = run.recipe.spec, run.recipe.data, how.draws
    if how.interval and all(part.values not in NUMBERS for part in spec.parts.values()):
        raise refuse("intervals", how.interval, "left out: the table has no column of numbers")
    dataset, cells = _opened(run, data, options)
    names = list(spec.parts)
    missing = np.stack([cells.holes(name) for name in names], 1)
    unread_cells = _store(dataset).isnan().numpy()
    unread = tuple(n for n in cells.columns if n not in names and cells.holes(n).any())
    rows = np.flatnonzero(missing.any(1))
    values, ess = _values(run, dataset, rows, how)
    filled = cells.repeated(draws) if draws else cells
    for index, name in enumerate(names):
        imputed, part = values[:, missing[rows, index], index], spec.parts[name]
        if draws:
            imputed = imputed.reshape(1, -1)
        elif part.values not in NUMBERS or not missing[:, index].any():
            imputed = imputed[:1]
        fill(filled, name, [written(plane, part) for plane in imputed])
    if how.ess:
        filled.add("ess", np.full(len(filled), np.nan), rows, ess.tolist())
    return Imputed(
        filled,
        {n: int(missing[:, i].sum()) for i, n in enumerate(names) if missing[:, i].any()},
        {n: int(k) for i, n in enumerate(names) if (k := (unread_cells & ~missing)[:, i].sum())},
        unread,
        ess,
        draws,
        packed=None
        if is_table(data) or is_frame(data) or form.get("columns")
        else partial(_one_array, names),
        read=tuple(names),
    )


def _one_array(names: Sequence[str], columns: Mapping[str, np.ndarray], draws: int) -> np.ndarray:
    """The columns of the model as one array, (N, D), or (M, N, D)."""
    x = np.stack([columns[name] for name in names], 1)
    return x.reshape(draws, -1, x.shape[1]) if draws else x


def _opened(run: Run, data: Any, options: Mapping[str, Any]) -> tuple[Dataset, Cells]:
    """A table as the model reads it, and its original cells."""
    spec, form = run.recipe.spec, run.recipe.data
    if data is None or isinstance(data, Dataset):
        dataset = run.data.test if data is None else data
        return dataset, _stored_cells(_store(dataset).numpy(), spec)
    dataset = nd.like(form, data, **options)
    missing_values = names_of(options.get("missing_values", form.get("missing_values")))
    if is_table(data):
        return dataset, Cells.read(Path(data), missing_values)
    if is_frame(data):
        return dataset, Cells.of_frame(data, missing_values)
    raw = data if isinstance(data, np.ndarray) else raw_like(form, data, **options).x
    return dataset, _stored_cells(np.asarray(raw), spec)


def _store(dataset: Dataset) -> Tensor:
    """The stored cells of a table, (N, D), NaN if missing."""
    assert isinstance(dataset.x, Tensor)  # tables are read whole
    return dataset.x


def _stored_cells(x: np.ndarray, spec: Spec) -> Cells:
    """Stored cells (N, D), NaN if missing, as the columns of the user's table."""
    missing = np.isnan(x)
    cells = Cells(cells_of(np.where(missing, 0, x), spec.parts))
    for index, name in enumerate(spec.parts):
        cells.blank(name, np.flatnonzero(missing[:, index]))
    return cells


def _values(run: Run, dataset: Dataset, rows: np.ndarray, how: How) -> tuple[np.ndarray, np.ndarray]:
    """Imputed values of rows, in the units of the data, (P, R, D), and effective sample sizes."""
    chunks = [found for _, found in completions(run, dataset, rows, how, _SAMPLES)]
    if not chunks:
        return np.empty((how.height, 0, dataset.shape[0])), np.empty(0)
    cells = torch.cat([how.planes(found) for found in chunks], 1)
    if any(part.column is None for part in run.recipe.spec.parts.values()):  # a run of an earlier version
        units = dataset.scaling.invert(cells.flatten(0, 1)).unflatten(0, cells.shape[:2]).double().numpy()
    else:
        units = in_units(cells.numpy(), run.recipe.spec.parts)
    return units, torch.cat([found.ess for found in chunks]).numpy()
