"""The result of `impute`, and imputation by chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
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

__all__ = ["How", "Imputed", "completions", "fill", "is_table"]

_ROWS = 256
"""Rows per chunk."""
_ENDS = ("lower", "upper")
"""The ends of an interval."""
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
        read: the columns of the model.
    """

    cells: Cells
    filled: Mapping[str, int]
    unknown: Mapping[str, int]
    unread: tuple[str, ...]
    ess: np.ndarray
    draws: int = 0
    appended: int = 0
    packed: Callable[[Mapping[str, np.ndarray], int], Any] | None = None
    read: tuple[str, ...] = ()

    def result(self) -> Any:
        """The columns by name, (N,) each, or (M N,) with a column `draw`; for an array (N, ...), or (M, N, ...).

        For a data frame, a frame of the same kind. An array with intervals or effective sample sizes is in a dict: `x`,
        `lower` and `upper` of its shape, and `ess`.
        """
        if self.cells.frame is not None:
            return self.cells.framed()
        columns = self.cells.arrays()
        if self.packed is None:
            return columns
        columns.pop("draw", None)
        found: Any = self.packed(columns, self.draws)
        more = {
            end: self._packed(columns, end)
            for end in _ENDS
            if any(f"{name}_{end}" in columns for name in self.read)
        }
        if "ess" in columns:
            more["ess"] = columns["ess"]
        return {**(found if isinstance(found, dict) else {"x": found}), **more} if more else found

    def _packed(self, columns: Mapping[str, np.ndarray], end: str) -> Any:
        """The lower or upper ends of intervals in the form of the data, NaN where there are none."""
        assert self.packed is not None
        none = np.full(len(self.cells), np.nan)
        ends = {name: columns.get(f"{name}_{end}", none) for name in self.read}
        found = self.packed({**columns, **ends}, self.draws)
        return found["x"] if isinstance(found, dict) else found

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
    interval: float = 0.0
    ess: bool = False

    @property
    def height(self) -> int:
        """The number of planes."""
        return self.draws or 1 + 2 * (self.interval > 0)

    def planes(self, found: Imputation) -> torch.Tensor:
        """What is written of each cell, (P, B, *shape): draws, or the estimate, followed by the ends of an interval."""
        return found.draws if self.draws else torch.cat([found.cells[None], found.bounds])


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
                    run.model,
                    batch,
                    how.samples or samples,
                    how.draws,
                    seed=(how.seed << 20) + turn,
                    interval=how.interval,
                ),
            )

    return with_progress(parts(), len(rows), how.progress, "Imputing", _ROWS)


def is_table(data: Any) -> bool:
    """Whether data are a file with named columns."""
    return isinstance(data, (str, Path)) and Path(data).suffix.lower() in _TABLES and Path(data).is_file()


def fill(cells: Cells, name: str, planes: Sequence[Sequence[Any]]) -> None:
    """Fill the missing cells of a column; columns with the ends of their intervals are added.

    Args:
        cells: the table.
        name: the column.
        planes: of each missing cell the value, and its lower and upper end if there are intervals.

    Raises:
        RequestError: the table has columns of the names of the added ones.
    """
    rows = np.flatnonzero(cells.holes(name))
    cells.fill(name, planes[0])
    for end, values in zip(_ENDS, planes[1:], strict=False):
        cells.add(f"{name}_{end}", cells.columns[name], rows, values)
