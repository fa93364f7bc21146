"""The columns of a mixed table by type: real, binary or categorical."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from narrows.core.check import refuse
from narrows.core.spec import Spec

__all__ = ["Columns", "select_columns"]


def select_columns(x: Tensor, indices: Sequence[int]) -> Tensor:
    """Entries of the last axis by index, in the given order."""
    return x.index_select(-1, torch.tensor(indices, dtype=torch.long, device=x.device))


@dataclass(frozen=True)
class Columns:
    """The layout of a table's columns in one expanded vector, with categories one-hot.

    The real columns come first, then the binary ones, with one entry each; then the categorical ones, with
    one entry per class. Encoders read this layout, and decoders output the parameters of a likelihood in it.

    Args:
        real: indices of the real columns in the table.
        binary: indices of the binary columns.
        categories: pairs of index and number of classes of the categorical columns.

    Example:
        >>> columns = Columns.of(Spec((2,), parts={"a": Spec(()), "b": Spec((), "categories", classes=3)}))
        >>> columns.width, columns.order
        (4, (0, 1))
    """

    real: tuple[int, ...]
    binary: tuple[int, ...]
    categories: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, spec: Spec) -> Columns:
        """The layout of a spec with named parts; without parts all columns have the spec's own type.

        Raises:
            RequestError: a column is neither real, nor binary, nor categorical.
        """
        kinds = list(spec.parts.values()) or [spec] * spec.shape[0]
        found: dict[str, list[int]] = {"real": [], "binary": []}
        categories = []
        for index, column in enumerate(kinds):
            if column.values == "categories":
                categories.append((index, column.classes))
            elif column.values in ("real", "unit", "binary"):
                found["binary" if column.values == "binary" else "real"].append(index)
            else:
                raise refuse("spec", column.values, "columns of numbers, of 0 and 1, or of categories")
        return cls(tuple(found["real"]), tuple(found["binary"]), tuple(categories))

    def __len__(self) -> int:
        return len(self.order)

    @property
    def order(self) -> tuple[int, ...]:
        """The table's column indices in the order of the expanded vector."""
        return (*self.real, *self.binary, *(index for index, _ in self.categories))

    @property
    def width(self) -> int:
        """The length of the expanded vector."""
        return sum(self.sizes)

    @property
    def sizes(self) -> list[int]:
        """The number of entries of the real columns, of the binary ones, and of each categorical one."""
        return [len(self.real), len(self.binary), *(classes for _, classes in self.categories)]

    @property
    def owner(self) -> tuple[int, ...]:
        """The column index of each entry of the expanded vector."""
        many = (index for index, classes in self.categories for _ in range(classes))
        return (*self.real, *self.binary, *many)

    def expand(self, x: Tensor, observed: Tensor | None = None) -> Tensor:
        """Expand cells (..., D) to (..., width): numbers unchanged, categories one-hot.

        Args:
            x: the cells; categories as class indices.
            observed: mask of the observed cells, (..., D); a missing cell is zero in all of its entries.
        """
        if observed is not None:
            x = torch.where(observed, x, 0)
        parts = [select_columns(x, self.real + self.binary)]
        for index, classes in self.categories:
            one = F.one_hot(x[..., index].long(), classes).to(x.dtype)
            parts.append(one if observed is None else torch.where(observed[..., index, None], one, 0))
        return torch.cat(parts, -1)
