"""Rows as a model reads them, and its values as rows: complete numbers, or the columns of a table by type."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
import torch
from sklearn.preprocessing import StandardScaler

from narrows.core import Spec
from narrows.core.check import RequestError
from narrows.data import Dataset, Scaling
from narrows.data.assemble import assemble
from narrows.data.raw import Raw
from narrows.data.readers.cells import Cells
from narrows.data.readers.mixed import mixed
from narrows.data.scaling import exact
from narrows.data.schema.declared import Declared
from narrows.data.schema.written import cells_of, in_units, written
from narrows.data.split import Split

__all__ = ["Array", "Tables", "Vectors", "complete", "refuse_text"]

Array: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"

_NAME = "X"


class Vectors:
    """Numbers that are complete when the model is fitted; a cell missing later is read as the mean of its column.

    Args:
        x: the rows, (N, D).
        names: names of the columns.
        standardise: whether to scale columns to mean 0 and variance 1.
    """

    left_out: Mapping[str, str] = {}

    def __init__(self, x: Array, names: Sequence[str], standardise: bool) -> None:
        self.names = tuple(names)
        self.scaler = StandardScaler(with_mean=standardise, with_std=standardise).fit(x)
        self.spec = Spec((x.shape[1],))

    @property
    def log_scale(self) -> float:
        """The logarithm of the product of the scales, by which densities of scaled rows are larger."""
        return 0.0 if self.scaler.scale_ is None else float(np.log(self.scaler.scale_).sum())

    def dataset(self, x: Array) -> Dataset:
        """Rows (N, D) as data of a model."""
        cells = torch.from_numpy(np.ascontiguousarray(self.scaler.transform(x)))
        return Dataset(cells, Scaling(), self.spec.shape, holes=bool(cells.isnan().any()))

    def units(self, x: Array) -> Array:
        """Values of a model (N, D) in the units of the rows."""
        return np.asarray(self.scaler.inverse_transform(x))

    def columns(self, x: Array) -> dict[str, Any]:
        """Values of a model (N, D) as columns by name."""
        return dict(zip(self.names, self.units(x).T.copy(), strict=True))

    def written(self, values: Array, index: int) -> list[Any]:
        """Numbers of a column, in its units, as cells."""
        return list(values.tolist())


class Tables:
    """The columns of a table by type. Columns without a value, ids and long texts are left out.

    Args:
        cells: the table that the model is fitted to.
        types: declared types of columns.
        standardise: whether to scale columns of numbers to mean 0 and variance 1.

    Raises:
        RequestError: a column that cannot be read, or none that a model can read.
    """

    log_scale = 0.0

    def __init__(self, cells: Cells, types: Mapping[str, Declared], standardise: bool) -> None:
        found = mixed(cells, list(cells.columns), _NAME, types=types)
        constant = [name for name, why in found.left_out.items() if why.startswith("constant")]
        if constant:  # their missing cells can be imputed
            kept = [name for name in cells.columns if name in found.parts or name in constant]
            found = replace(mixed(cells, kept, _NAME, types=types, keep=True), left_out=found.left_out)
        self.left_out = {name: why for name, why in found.left_out.items() if name not in found.parts}
        raw = Raw(found.x, kind="table", parts=found.parts, layout="vector", holes=True)
        scale = "auto" if standardise else "none"
        source = assemble(replace(raw, test=raw), _NAME, Split(), scale, {})
        self.spec, self.scaling = source.spec, source.train.scaling
        self.names = tuple(self.spec.parts)

    def dataset(self, cells: Cells) -> Dataset:
        """A table with the same columns as data of a model.

        Warns about levels that the table of the fit did not have.

        Raises:
            RequestError: a column that is gone or has another type.
        """
        found = mixed(cells, self.names, _NAME, known=self.spec.parts)
        for name, count in found.unknown.items():
            warnings.warn(
                f"Column `{name}`: {count} cells have levels that it did not have when the model was fitted. They are "
                "read as missing.",
                stacklevel=4,
            )
        return Dataset(exact(found.x), self.scaling, self.spec.shape, holes=bool(np.isnan(found.x).any()))

    def units(self, x: Array) -> Array:
        """Values of a model (N, D) in the units of the columns; levels are indices."""
        return in_units(x, self.spec.parts)

    def columns(self, x: Array) -> dict[str, Any]:
        """Values of a model (N, D) as columns by name, in the types of the table."""
        return cells_of(self.units(x), self.spec.parts, new=True)

    def written(self, values: Array, index: int) -> list[Any]:
        """Numbers of a column, in its units, as cells."""
        return written(values, self.spec.parts[self.names[index]])


def complete(cells: Cells) -> Array | None:
    """A table as numbers (N, D), if it is complete and has nothing else."""
    table = cells.plain()
    if any(values.dtype == object or values.ndim > 1 or np.isnan(values).any() for values in table.values()):
        return None
    return np.stack(list(table.values()), 1)


def refuse_text(cells: Cells, method: str) -> RequestError:
    """The error for a table that a method for complete numbers was given."""
    table = cells.plain()
    name = next(n for n, v in table.items() if v.dtype == object or v.ndim > 1 or np.isnan(v).any())
    what = "text" if table[name].dtype == object else "missing or several values in a cell"
    return RequestError(
        f"`{method}` reads complete numbers, and column `{name}` has {what}. Encode or impute it first, or use a "
        "method for tables, such as `vae`."
    )
