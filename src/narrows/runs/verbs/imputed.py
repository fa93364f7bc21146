"""What the verb `impute` gives, and the chunks in which it is made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from narrows.audit.evidence.imputation import Imputation
from narrows.audit.evidence.imputation import impute as impute_batch
from narrows.core.progress import with_progress
from narrows.data import Dataset
from narrows.data.readers.cells import Cells, encoded

if TYPE_CHECKING:
    from narrows.runs.run import Run

__all__ = ["How", "Imputed", "completions", "is_table"]

_ROWS = 256
"""So many rows are imputed between two looks at the progress bar."""
_TABLES = (".csv", ".tsv", ".gz", ".parquet")


@dataclass(frozen=True)
class Imputed:
    """A table without holes, and what was done to it.

    Args:
        cells: the user's own columns, in order; of arrays of series, those of the table in long form.
        filled: how many cells of each column were filled, where any were.
        unknown: how many cells of each column hold a category that was not there when the model was fitted: they are
            left as they are, and the model took them for missing.
        unread: columns that the model does not read and that have holes still.
        ess: effective sample size of each row (each series) that had holes: below about 10 its values hang on few
            draws.
        draws: how many times over the table is there, 0 for the point estimate alone.
        appended: how many steps were appended to all series together.
        packed: from the columns by name, and `draws`, to arrays, where these were given.
    """

    cells: Cells
    filled: Mapping[str, int]
    unknown: Mapping[str, int]
    unread: tuple[str, ...]
    ess: np.ndarray
    draws: int = 0
    appended: int = 0
    packed: Callable[[Mapping[str, np.ndarray], int], Any] | None = None

    def result(self) -> dict[str, np.ndarray] | np.ndarray:
        """The columns by name, (N,) each or (M N,) with `draw`; of an array (N, ...), or (M, N, ...)."""
        columns = self.cells.arrays()
        if self.packed is None:
            return columns
        columns.pop("draw", None)
        made: dict[str, np.ndarray] | np.ndarray = self.packed(columns, self.draws)
        return made

    def encoded(self, kind: str) -> bytes:
        """The content of a file: ``.csv``, ``.parquet``, or ``.npz``, where an array is called ``x``."""
        if kind != ".npz":
            return self.cells.encoded(kind)
        found = self.result()
        return encoded({"x": found} if isinstance(found, np.ndarray) else found, kind)


class How(NamedTuple):
    """How it is filled: the arguments of `impute`."""

    samples: int | None
    draws: int
    seed: int
    horizon: int
    progress: Any


def completions(
    run: Run, dataset: Dataset, rows: np.ndarray, how: How, samples: int
) -> Iterator[tuple[np.ndarray, Imputation]]:
    """What may be in the holes of some rows, a chunk of them at a time."""

    def parts() -> Iterator[tuple[np.ndarray, Imputation]]:
        for turn, first in enumerate(range(0, len(rows), _ROWS)):
            some = rows[first : first + _ROWS]
            batch = dataset.batch(torch.from_numpy(some), run.model.conditions)
            yield (
                some,
                impute_batch(
                    run.model, batch, how.samples or samples, how.draws, seed=(how.seed << 20) + turn
                ),
            )

    return with_progress(parts(), len(rows), how.progress, "Imputing", _ROWS)


def is_table(data: Any) -> bool:
    """Whether data are a file whose cells stand in named columns."""
    return isinstance(data, (str, Path)) and Path(data).suffix.lower() in _TABLES and Path(data).is_file()
