"""`Column`: how the cells of a column of a user's table are written, and where its numbers lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from narrows.core.check import number, refuse

__all__ = ["Column"]


@dataclass(frozen=True)
class Column:
    """A column of a user's table. Numbers are in the user's units; dates are seconds since 1970, in UTC.

    Args:
        dtype: the Arrow type of the cells, with unit and time zone; ``text`` for the cells of a CSV file.
        resolution: the distance of neighbouring values; 0 if it is unknown.
        low: the smallest value.
        high: the largest value.
        shift: a model sees (x - shift) / scale.
        scale: see `shift`.
        form: the format of dates that are text; ``bool`` for true and false as text.
        other: whether the last level stands for all rare levels.
        reason: why the column has its kind.

    Example:
        >>> Column("int64", 1.0, 17.0, 90.0, 40.0, 10.0).step
        0.1
    """

    dtype: str = ""
    resolution: float = 0.0
    low: float = 0.0
    high: float = 0.0
    shift: float = 0.0
    scale: float = 1.0
    form: str = ""
    other: bool = False
    reason: str = ""

    @property
    def step(self) -> float:
        """The resolution as a model sees it."""
        return self.resolution / self.scale

    @property
    def origin(self) -> float:
        """The smallest value as a model sees it."""
        return (self.low - self.shift) / self.scale

    def to_json(self) -> dict[str, Any]:
        """As a JSON mapping; fields with their default value are omitted."""
        return {f.name: v for f in fields(self) if (v := getattr(self, f.name)) != f.default}

    @classmethod
    def from_json(cls, form: Mapping[str, Any]) -> Column:
        """The inverse of `to_json`.

        Raises:
            RequestError: an entry is unknown or of another type.
        """
        defaults = {f.name: f.default for f in fields(cls)}
        if not isinstance(form, Mapping) or not set(form) <= set(defaults):
            raise refuse("column", form, f"entries of {', '.join(defaults)}")
        found: dict[str, Any] = {}
        for name, value in form.items():
            if isinstance(defaults[name], float):
                found[name] = number(name, value, low=1e-300 if name == "scale" else -1e300)
            elif type(value) is not type(defaults[name]):
                raise refuse(name, value, f"a {type(defaults[name]).__name__}")
            else:
                found[name] = value
        return cls(**found)
