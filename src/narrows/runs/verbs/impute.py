"""The verb `impute`: fill what is missing of tables and series, and leave all else as it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from narrows import data as nd
from narrows.core import Spec
from narrows.core.check import RequestError, refuse, whole
from narrows.data import Dataset
from narrows.data.opening import raw_like
from narrows.data.readers.cells import Cells
from narrows.runs.verbs.impute_series import impute_series
from narrows.runs.verbs.imputed import How, Imputed, completions, is_table

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
    progress: Any = None,
    **options: Any,
) -> Imputed:
    """Fill what is missing with what it is, as far as the model knows, given the rest.

    Args:
        run: a run of a method that reads tables with missing cells, or series.
        data: a file, an array, or None for the run's own test part.
        samples: how many codes are drawn for each row, 1000 unless said; for each series 200.
        draws: 0 fills each hole with a point estimate: the conditional mean of numbers, the most probable category. M
            gives the data M times over, each with a draw from what the holes may be.
        seed: the same seed fills with the same values.
        horizon: of series, append so many steps to each and fill them: a forecast.
        progress: a `narrows.core.progress.Progress`, or None.
        **options: of `narrows.data.open`, for how the file is read.

    Raises:
        RequestError: a run whose method does not read what is missing, or data that are not like those of the fit.
    """
    how = How(samples, whole("draws", draws, low=0), seed, whole("horizon", horizon, low=0), progress)
    if run.model.likelihood.any_length:
        return impute_series(run, data, how, options)
    if run.recipe.spec.kind != "table":
        raise RequestError(
            f"`{run.method}` was fitted on complete examples, so it fills no missing cells. "
            "Fit a table with: narrows fit FILE --method missing-iwae, or series with: --method vrnn"
        )
    if horizon:
        raise refuse("horizon", horizon, "left out: a table has no next steps", "Series have: --method vrnn.")
    return _impute_table(run, data, how, options)


def _impute_table(run: Run, data: Any, how: How, options: Mapping[str, Any]) -> Imputed:
    """Fill the missing cells of a mixed table."""
    spec, form, draws = run.recipe.spec, run.recipe.data, how.draws
    dataset, cells = _opened(run, data, options)
    names = list(spec.parts)
    holes = np.stack([cells.holes(name) for name in names], 1)
    gone = _store(dataset).isnan().numpy()
    rows = np.flatnonzero(holes.any(1))
    values, ess = _values(run, dataset, rows, how)
    filled = cells.repeated(draws) if draws else cells
    for place, name in enumerate(names):
        found = values[:, holes[rows, place], place]
        filled.fill(name, _worded(found.ravel(), spec.parts[name]))
    return Imputed(
        filled,
        {n: int(holes[:, i].sum()) for i, n in enumerate(names) if holes[:, i].any()},
        {n: int(k) for i, n in enumerate(names) if (k := (gone & ~holes)[:, i].sum())},
        tuple(n for n in cells.columns if n not in names and cells.holes(n).any()),
        ess,
        draws,
        packed=None if is_table(data) or form.get("columns") else _one_array,
    )


def _one_array(columns: Mapping[str, np.ndarray], draws: int) -> np.ndarray:
    """Columns side by side, (N, D), or (M, N, D)."""
    x = np.stack(list(columns.values()), 1)
    return x.reshape(draws, -1, x.shape[1]) if draws else x


def _opened(run: Run, data: Any, options: Mapping[str, Any]) -> tuple[Dataset, Cells]:
    """A table as the model sees it, and its own cells."""
    spec, form = run.recipe.spec, run.recipe.data
    if data is None or isinstance(data, Dataset):
        dataset = run.data.test if data is None else data
        return dataset, Cells(_words(_store(dataset).numpy(), spec))
    dataset = nd.like(form, data, **options)
    if is_table(data):
        said = options.get("missing_values", form.get("missing_values") or ())
        marks = said.split(",") if isinstance(said, str) else said
        return dataset, Cells.read(Path(data), [text.strip() for text in marks])
    raw = data if isinstance(data, np.ndarray) else raw_like(form, data, **options).x
    return dataset, Cells(_words(np.asarray(raw), spec))


def _store(dataset: Dataset) -> Tensor:
    """The cells of a table as they are stored, (N, D), NaN where one is missing."""
    assert isinstance(dataset.x, Tensor)  # tables are read whole
    return dataset.x


def _words(x: np.ndarray, spec: Spec) -> dict[str, Any]:
    """The columns of numbers (N, D) by name, categories in words, and nothing for a missing one."""
    columns: dict[str, Any] = {}
    for place, (name, part) in enumerate(spec.parts.items()):
        columns[name] = values = x[:, place]
        if part.values == "categories":
            levels = np.array([*part.vocabulary, ""], dtype=object)
            columns[name] = levels[np.where(np.isnan(values), -1, values).astype(int)]
    return columns


def _values(run: Run, dataset: Dataset, rows: np.ndarray, how: How) -> tuple[np.ndarray, np.ndarray]:
    """What may be in each cell of some rows, in the units of the data, (max(M, 1), R, D), and their sample size."""
    made = [found for _, found in completions(run, dataset, rows, how, _SAMPLES)]
    if not made:
        return np.empty((max(how.draws, 1), 0, dataset.shape[0])), np.empty(0)
    cells = torch.cat([found.draws if how.draws else found.cells[None] for found in made], 1)
    units = dataset.scaling.invert(cells.flatten(0, 1)).unflatten(0, cells.shape[:2])
    return units.double().numpy(), torch.cat([found.ess for found in made]).numpy()


def _worded(values: np.ndarray, column: Spec) -> list[Any]:
    """Values as the column writes them: categories by name, two values as 0 and 1."""
    if column.values == "categories":
        return [column.vocabulary[int(number)] for number in values]
    return list((np.rint(values) if column.values == "binary" else values).tolist())
