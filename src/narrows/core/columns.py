"""The columns of a mixed table: numbers, binary columns and columns of levels, in one expanded vector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from narrows.core.check import refuse
from narrows.core.spec import Spec

__all__ = ["LEVELS", "NUMBERS", "Columns", "columns_of", "select_columns"]

NUMBERS = ("real", "unit", "integer", "positive", "datetime", "counts")
"""The types of columns of numbers."""

LEVELS = ("categories", "ordinal")
"""The types of columns of levels, of which a cell holds the index."""


def select_columns(x: Tensor, indices: Sequence[int]) -> Tensor:
    """Entries of the last axis by index, in the given order."""
    return x.index_select(-1, torch.tensor(indices, dtype=torch.long, device=x.device))


def columns_of(spec: Spec) -> dict[str, Spec]:
    """The columns of a table by name; those of a spec without parts have the spec's own type."""
    return dict(spec.parts) or {f"c{i}": spec for i in range(spec.shape[0])}


@dataclass(frozen=True)
class Columns:
    """The layout of a table's columns in one expanded vector, with levels one-hot.

    The columns of numbers come first, then the binary ones, with one entry each; then those of levels, with one
    entry per level. Encoders read this layout.

    Args:
        real: indices of the columns of numbers in the table.
        binary: indices of the binary columns.
        categories: pairs of index and number of levels of the other columns, categorical or ordinal.
        ordered: indices of the ordinal ones among them.

    Example:
        >>> columns = Columns.of(Spec((2,), parts={"a": Spec(()), "b": Spec((), "categories", classes=3)}))
        >>> columns.width, columns.order
        (4, (0, 1))
    """

    real: tuple[int, ...]
    binary: tuple[int, ...]
    categories: tuple[tuple[int, int], ...]
    ordered: tuple[int, ...] = ()

    @classmethod
    def of(cls, spec: Spec) -> Columns:
        """The layout of a spec with named parts; without parts all columns have the spec's own type.

        Raises:
            RequestError: a column has neither numbers, nor two values, nor levels.
        """
        found: dict[str, list[int]] = {"real": [], "binary": []}
        categories, ordered = [], []
        for index, column in enumerate(columns_of(spec).values()):
            if column.values in LEVELS:
                categories.append((index, column.classes))
                if column.values == "ordinal":
                    ordered.append(index)
            elif column.values == "binary" or column.values in NUMBERS:
                found["binary" if column.values == "binary" else "real"].append(index)
            else:
                raise refuse("spec", column.values, "columns of numbers, of two values, or of levels")
        return cls(tuple(found["real"]), tuple(found["binary"]), tuple(categories), tuple(ordered))

    def __len__(self) -> int:
        return len(self.order)

    @cached_property
    def order(self) -> tuple[int, ...]:
        """The table's column indices in the order of the expanded vector."""
        return (*self.real, *self.binary, *(index for index, _ in self.categories))

    @property
    def width(self) -> int:
        """The length of the expanded vector."""
        return sum(self.sizes)

    @property
    def sizes(self) -> list[int]:
        """The number of entries of the columns of numbers, of the binary ones, and of each other one."""
        return [len(self.real), len(self.binary), *(classes for _, classes in self.categories)]

    @property
    def owner(self) -> tuple[int, ...]:
        """The column index of each entry of the expanded vector."""
        many = (index for index, classes in self.categories for _ in range(classes))
        return (*self.real, *self.binary, *many)

    def expand(self, x: Tensor, observed: Tensor | None = None) -> Tensor:
        """Expand cells (..., D) to (..., width): numbers unchanged, levels one-hot.

        Args:
            x: the cells; levels as indices.
            observed: mask of the observed cells, (..., D); a missing cell is zero in all of its entries.
        """
        if observed is not None:
            x = torch.where(observed, x, 0)
        plain = select_columns(x, self.real + self.binary)
        if not self.categories:
            return plain
        places, classes = zip(*self.categories, strict=True)
        starts = torch.tensor([0, *classes[:-1]], device=x.device).cumsum(0)
        entries = starts + select_columns(x, places).long()
        ones = (
            torch.ones_like(x[..., :1]) if observed is None else select_columns(observed, places).to(x.dtype)
        )
        hot = x.new_zeros(*x.shape[:-1], sum(classes))
        return torch.cat([plain, hot.scatter(-1, entries, ones.expand(entries.shape))], -1)
