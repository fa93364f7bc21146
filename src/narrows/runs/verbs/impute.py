"""The verb `impute`: fill the missing cells of a table, and leave all others as they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from narrows import data as nd
from narrows.audit.evidence.imputation import impute as impute_batch
from narrows.core import Spec
from narrows.core.check import RequestError, whole
from narrows.core.progress import with_progress
from narrows.data import Dataset
from narrows.data.opening import raw_like
from narrows.data.readers.cells import Cells, encoded

if TYPE_CHECKING:
    from narrows.runs.run import Run

__all__ = ["Imputed", "impute"]

_ROWS = 256
"""So many rows are imputed between two looks at the progress bar."""
_TABLES = (".csv", ".tsv", ".gz", ".parquet")


@dataclass(frozen=True)
class Imputed:
    """A table without holes, and what was done to it.

    Args:
        cells: the user's own columns, in order.
        filled: how many cells of each column were filled, where any were.
        unknown: how many cells of each column hold a category that was not there when the model was fitted: they are
            left as they are, and the model took them for missing.
        unread: columns that the model does not read and that have holes still.
        ess: effective sample size of each row that had holes: below about 10 its values hang on few draws.
        draws: how many times over the table is there, 0 for the best guess alone.
        array: whether it came as an array, without names of columns.
    """

    cells: Cells
    filled: Mapping[str, int]
    unknown: Mapping[str, int]
    unread: tuple[str, ...]
    ess: np.ndarray
    draws: int = 0
    array: bool = False

    def result(self) -> dict[str, np.ndarray] | np.ndarray:
        """The columns by name, (N,) each or (M N,) with `draw`; of an array (N, D), or (M, N, D)."""
        columns = self.cells.arrays()
        if not self.array:
            return columns
        columns.pop("draw", None)
        x = np.stack(list(columns.values()), 1)
        return x.reshape(self.draws, -1, x.shape[1]) if self.draws else x

    def encoded(self, kind: str) -> bytes:
        """The content of a file: ``.csv``, ``.parquet``, or ``.npz``, where an array is called ``x``."""
        found = self.result() if kind == ".npz" else None
        return self.cells.encoded(kind) if not isinstance(found, np.ndarray) else encoded({"x": found}, kind)


def impute(
    run: Run,
    data: Any = None,
    *,
    samples: int = 1000,
    draws: int = 0,
    seed: int = 0,
    progress: Any = None,
    **options: Any,
) -> Imputed:
    """Fill the missing cells of a table with what they are, as far as the model knows, given the others.

    Args:
        run: a run of a method that reads tables with missing cells.
        data: a file, an array, or None for the run's own test part.
        samples: how many codes are drawn for each row.
        draws: 0 fills each hole with the best guess: the conditional mean of numbers, the most probable category. M
            gives the table M times over, each with a draw from what the holes may be.
        seed: the same seed fills with the same values.
        progress: a `narrows.core.progress.Progress`, or None.
        **options: of `narrows.data.open`, for how the file is read.

    Raises:
        RequestError: a run whose method does not read missing cells, or data that are not like those of the fit.
    """
    spec, form = run.recipe.spec, run.recipe.data
    if spec.kind != "table":
        raise RequestError(
            f"`{run.method}` was fitted on complete examples, so it fills no missing cells. "
            "Fit the table with: narrows fit FILE --method missing-iwae"
        )
    draws = whole("draws", draws, low=0)
    dataset, cells = _opened(run, data, options)
    names = list(spec.parts)
    holes = np.stack([cells.holes(name) for name in names], 1)
    gone = _store(dataset).isnan().numpy()
    rows = np.flatnonzero(holes.any(1))
    values, ess = _values(run, dataset, rows, (samples, draws, seed), progress)
    filled = cells.repeated(draws) if draws else cells
    for place, name in enumerate(names):
        guess = values[:, holes[rows, place], place]
        filled.fill(name, _worded(guess.ravel(), spec.parts[name]))
    return Imputed(
        filled,
        {n: int(holes[:, i].sum()) for i, n in enumerate(names) if holes[:, i].any()},
        {n: int(k) for i, n in enumerate(names) if (k := (gone & ~holes)[:, i].sum())},
        tuple(n for n in cells.columns if n not in names and cells.holes(n).any()),
        ess,
        draws,
        array=not (_is_file(data) or form.get("columns")),
    )


def _opened(run: Run, data: Any, options: Mapping[str, Any]) -> tuple[Dataset, Cells]:
    """A table as the model sees it, and its own cells."""
    spec, form = run.recipe.spec, run.recipe.data
    if data is None or isinstance(data, Dataset):
        dataset = run.data.test if data is None else data
        return dataset, Cells(_words(_store(dataset).numpy(), spec))
    dataset = nd.like(form, data, **options)
    if _is_file(data):
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


def _values(
    run: Run, dataset: Dataset, rows: np.ndarray, how: tuple[int, int, int], progress: Any
) -> tuple[np.ndarray, np.ndarray]:
    """What may be in each cell of some rows, in the units of the data, (max(M, 1), R, D), and their sample size."""
    samples, draws, seed = how

    def parts() -> Iterator[tuple[Tensor, Tensor]]:
        for turn, first in enumerate(range(0, len(rows), _ROWS)):
            batch = dataset.batch(torch.from_numpy(rows[first : first + _ROWS]), run.model.conditions)
            found = impute_batch(run.model, batch, samples, draws, seed=(seed << 20) + turn)
            yield (found.draws if draws else found.cells[None]), found.ess

    made = list(with_progress(parts(), len(rows), progress, "Imputing", _ROWS))
    if not made:
        return np.empty((max(draws, 1), 0, dataset.shape[0])), np.empty(0)
    cells = torch.cat([values for values, _ in made], 1)
    units = dataset.scaling.invert(cells.flatten(0, 1)).unflatten(0, cells.shape[:2])
    return units.double().numpy(), torch.cat([ess for _, ess in made]).numpy()


def _worded(values: np.ndarray, column: Spec) -> list[Any]:
    """Values as the column writes them: categories by name, two values as 0 and 1."""
    if column.values == "categories":
        return [column.vocabulary[int(number)] for number in values]
    return list((np.rint(values) if column.values == "binary" else values).tolist())


def _is_file(data: Any) -> bool:
    """Whether data are a file whose cells stand in named columns."""
    return isinstance(data, (str, Path)) and Path(data).suffix.lower() in _TABLES and Path(data).is_file()
