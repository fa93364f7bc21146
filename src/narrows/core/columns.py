"""The columns of a table, by what their values are: numbers, two values, or one of several categories."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from narrows.core.check import refuse
from narrows.core.spec import Spec

__all__ = ["Columns", "pick"]


def pick(x: Tensor, places: Sequence[int]) -> Tensor:
    """Some entries of the last axis, in the order asked for."""
    return x.index_select(-1, torch.tensor(places, dtype=torch.long, device=x.device))


@dataclass(frozen=True)
class Columns:
    """Where the columns of a table lie when they are written side by side as numbers.

    First come the columns of numbers, then those of two values, one entry each; then the categories, an entry for
    each class. Encoders read tables so, and decoders put the parameters of a likelihood out so.

    Args:
        real: the columns of numbers, by their place in the table.
        binary: the columns of zeros and ones.
        categories: the columns of class numbers, each with its number of classes.

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
        """The columns of a table; vectors without named parts are columns alike.

        Raises:
            RequestError: a column that is neither numbers, nor two values, nor categories.
        """
        kinds = list(spec.parts.values()) or [spec] * spec.shape[0]
        found: dict[str, list[int]] = {"real": [], "binary": []}
        categories = []
        for place, column in enumerate(kinds):
            if column.values == "categories":
                categories.append((place, column.classes))
            elif column.values in ("real", "unit", "binary"):
                found["binary" if column.values == "binary" else "real"].append(place)
            else:
                raise refuse("spec", column.values, "columns of numbers, of 0 and 1, or of categories")
        return cls(tuple(found["real"]), tuple(found["binary"]), tuple(categories))

    def __len__(self) -> int:
        return len(self.order)

    @property
    def order(self) -> tuple[int, ...]:
        """The places in the table of the columns, in the order in which they are written."""
        return (*self.real, *self.binary, *(place for place, _ in self.categories))

    @property
    def width(self) -> int:
        """How many entries all columns have together."""
        return sum(self.sizes)

    @property
    def sizes(self) -> list[int]:
        """How many entries the numbers have, those of two values, and each category."""
        return [len(self.real), len(self.binary), *(classes for _, classes in self.categories)]

    @property
    def owner(self) -> tuple[int, ...]:
        """For each entry the column that it belongs to."""
        many = (place for place, classes in self.categories for _ in range(classes))
        return (*self.real, *self.binary, *many)

    def expand(self, x: Tensor, observed: Tensor | None = None) -> Tensor:
        """Write cells (..., D) side by side, (..., width): numbers as they are, categories as indicators.

        Args:
            x: the cells; categories as class numbers.
            observed: which of them are there; a missing one is zero in all of its entries, whatever x holds.
        """
        if observed is not None:
            x = torch.where(observed, x, 0)
        parts = [pick(x, self.real + self.binary)]
        for place, classes in self.categories:
            one = F.one_hot(x[..., place].long(), classes).to(x.dtype)
            parts.append(one if observed is None else torch.where(observed[..., place, None], one, 0))
        return torch.cat(parts, -1)
