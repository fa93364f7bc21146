"""The result of `impute`, and imputation by chunks."""

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
"""Rows per chunk."""
_TABLES = (".csv", ".tsv", ".gz", ".parquet")


@dataclass(frozen=True)
class Imputed:
    """An imputed table.

    Args:
        cells: the columns of the user's table, in order; for arrays of series, those of a table in long form.
        filled: number of imputed cells by column, for columns with any.
        unknown: number of cells by column with a category that the training data do not have; they are not changed,
            and the model treats them as missing.
        unread: columns that the model does not read and that have missing cells.
        ess: effective sample size of each row or series with missing cells; below about 10 its values are unreliable.
            NaN for a method without a posterior, whose values are decoded from one code.
        draws: number of copies of the table in multiple imputation; 0 for single imputation.
        appended: number of steps appended, over all series.
        packed: function from columns by name and `draws` to arrays, if the data are arrays.
    """

    cells: Cells
    filled: Mapping[str, int]
    unknown: Mapping[str, int]
    unread: tuple[str, ...]
    ess: np.ndarray
    draws: int = 0
    appended: int = 0
    packed: Callable[[Mapping[str, np.ndarray], int], Any] | None = None

    def result(self) -> Any:
        """The columns by name, (N,) each, or (M N,) with a column `draw`; for an array (N, ...), or (M, N, ...).

        For a data frame, a frame of the same kind.
        """
        if self.cells.frame is not None:
            return self.cells.framed()
        columns = self.cells.arrays()
        if self.packed is None:
            return columns
        columns.pop("draw", None)
        arrays: dict[str, np.ndarray] | np.ndarray = self.packed(columns, self.draws)
        return arrays

    def encoded(self, kind: str) -> bytes:
        """The content of a file: ``.csv``, ``.parquet``, or ``.npz`` (an array is named ``x``)."""
        if kind != ".npz":
            return self.cells.encoded(kind)
        found = self.result()
        return encoded({"x": found} if isinstance(found, np.ndarray) else found, kind)


class How(NamedTuple):
    """The arguments of `impute`."""

    samples: int | None
    draws: int
    seed: int
    horizon: int
    progress: Any


def completions(
    run: Run, dataset: Dataset, rows: np.ndarray, how: How, samples: int
) -> Iterator[tuple[np.ndarray, Imputation]]:
    """Imputed values of rows, chunk by chunk."""

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
    """Whether data are a file with named columns."""
    return isinstance(data, (str, Path)) and Path(data).suffix.lower() in _TABLES and Path(data).is_file()
