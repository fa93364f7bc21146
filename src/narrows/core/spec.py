"""`Spec`: the kind, shape and type of one example, from which builders make models."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypeAlias, get_args

import torch

from narrows.core.check import RequestError, choice, refuse
from narrows.core.column import Column

__all__ = ["KINDS", "Kind", "Spec", "Values", "as_spec"]

Kind: TypeAlias = Literal["array", "series", "tokens", "graph", "field", "table", "views"]
Values: TypeAlias = Literal[
    "binary", "unit", "real", "integer", "positive", "datetime", "categories", "ordinal", "counts", "tokens"
]

KINDS: tuple[Kind, ...] = get_args(Kind)

_PHRASES: dict[str, str] = {
    "array": "arrays",
    "series": "series",
    "tokens": "texts",
    "graph": "a graph",
    "field": "fields (values at points)",
    "table": "rows of a mixed table",
    "views": "several modalities",
}


@dataclass(frozen=True)
class Spec:
    """The kind, shape and type of one example.

    Args:
        shape: shape of one example: ``(D,)`` a vector or the columns of a table, ``(C, H, W)`` an image,
            ``(T, C)`` a series, ``(T,)`` tokens, ``(N, F)`` the nodes of a graph, ``(P, C)`` the points of a
            field, with the largest length if lengths differ; ``()`` for several modalities, which `parts`
            describes.
        values: ``binary`` (0 or 1), ``unit`` (from 0 to 1), ``real``, ``categories`` (class indices),
            ``counts`` or ``tokens``; of a column of a table also ``integer``, ``positive`` (from 0), ``datetime``
            (seconds since 1970) or ``ordinal`` (class indices in their order).
        classes: the number of label classes, 0 without labels; for ``categories`` and ``ordinal``, the number of
            values.
        target: shape of the target, if it is not the input itself.
        kind: the kind of data.
        vocabulary: the symbols of tokens, or the levels of a column, in order.
        conditions: the available conditions: the shape of one row by name.
        parts: the specs of the modalities, or of the columns of a mixed table, in order.
        rows: the number of training rows; 0 if it is unknown.
        target_values: the type of the target's values, if it is another than that of the input's.
        column: of a column of a user's table, how its cells are written, and their range.
    """

    shape: tuple[int, ...]
    values: Values = "real"
    classes: int = 0
    target: tuple[int, ...] | None = None
    kind: Kind = "array"
    vocabulary: tuple[str, ...] = ()
    conditions: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    parts: Mapping[str, Spec] = field(default_factory=dict)
    rows: int = 0
    target_values: Values | None = None
    column: Column | None = None

    def __hash__(self) -> int:
        return hash((self.shape, self.values, self.classes, self.target, self.kind, self.vocabulary))

    def __repr__(self) -> str:
        """The shape, and the fields that differ from their defaults."""
        defaults = {f.name: f.default for f in fields(self)} | {"conditions": {}, "parts": {}}
        changed = [f"{n}={v!r}" for n, v in vars(self).items() if n != "shape" and v != defaults[n]]
        return f"Spec({', '.join([f'shape={self.shape}', *changed])})"

    @property
    def output_shape(self) -> tuple[int, ...]:
        """The shape of the decoder's target."""
        return self.shape if self.target is None else self.target

    @property
    def output_values(self) -> Values:
        """The type of the values of the decoder's target."""
        return self.target_values or self.values

    @property
    def size(self) -> int:
        """The number of values of one example."""
        return math.prod(self.shape)

    def to_json(self) -> dict[str, Any]:
        """The spec as a JSON mapping; fields with their default value are omitted.

        Example:
            >>> Spec((2,), kind="table", parts={"age": Spec(()), "sex": Spec((), "categories", 2)}).to_json()["parts"]
            {'age': {'shape': []}, 'sex': {'shape': [], 'values': 'categories', 'classes': 2}}
        """
        form: dict[str, Any] = {"shape": list(self.shape)}
        for name, default in (("values", "real"), ("classes", 0), ("kind", "array"), ("rows", 0)):
            if getattr(self, name) != default:
                form[name] = getattr(self, name)
        if self.target is not None:
            form["target"] = list(self.target)
        if self.target_values is not None:
            form["target_values"] = self.target_values
        if self.column is not None:
            form["column"] = self.column.to_json()
        if self.vocabulary:
            form["vocabulary"] = list(self.vocabulary)
        if self.conditions:
            form["conditions"] = {name: list(shape) for name, shape in self.conditions.items()}
        if self.parts:
            form["parts"] = {name: part.to_json() for name, part in self.parts.items()}
        return form

    @classmethod
    def from_json(cls, form: Mapping[str, Any]) -> Spec:
        """The inverse of `to_json`.

        Raises:
            RequestError: an entry is missing, unknown or of another type.

        Example:
            >>> Spec.from_json(Spec((3,), "counts").to_json())
            Spec(shape=(3,), values='counts')
        """
        known = {f.name for f in fields(cls)}
        if not isinstance(form, Mapping) or not set(form) <= known or "shape" not in form:
            raise refuse("spec", form, f"entries of {', '.join(sorted(known))}, with a shape")
        try:
            target, of_target = form.get("target"), form.get("target_values")
            return cls(
                _shape(form["shape"], form.get("kind") == "graph"),
                choice("values", form.get("values", "real"), get_args(Values)),
                _count(form.get("classes", 0)),
                None if target is None else _shape(target),
                choice("kind", form.get("kind", "array"), KINDS),
                tuple(map(str, form.get("vocabulary", ()))),
                {str(name): _shape(shape) for name, shape in form.get("conditions", {}).items()},
                {str(name): cls.from_json(part) for name, part in form.get("parts", {}).items()},
                _count(form.get("rows", 0)),
                None if of_target is None else choice("target_values", of_target, get_args(Values)),
                Column.from_json(form["column"]) if form.get("column") is not None else None,
            )
        except (TypeError, ValueError, AttributeError) as error:
            if isinstance(error, RequestError):
                raise
            raise refuse("spec", form, "what `Spec.to_json` wrote") from error


def as_spec(spec: Spec | tuple[int, ...] | int, *kinds: Kind) -> Spec:
    """Convert a shape or a width to a `Spec`, and check that the method reads this kind of data.

    Args:
        spec: a spec, or the shape of one example.
        kinds: the kinds that the method reads; arrays by default. Series of equal length and complete tables
            of numbers are arrays too, so methods that read ``series`` or ``table`` accept them.

    Raises:
        RequestError: `spec` is not a shape, or the data are of another kind.

    Example:
        >>> as_spec(8).shape
        (8,)
        >>> as_spec(Spec((9, 3), kind="graph"))
        Traceback (most recent call last):
        narrows.core.check.RequestError: This method reads arrays; these are a graph. See which method reads
        them: ...
    """
    spec = _plain(spec)
    wanted = kinds or ("array",)
    also = {"series": 2, "table": 1}
    if spec.kind in wanted or (
        spec.kind == "array" and any(len(spec.shape) == also.get(kind) for kind in wanted)
    ):
        return spec
    reads = " or ".join(_PHRASES[kind] for kind in wanted)
    raise RequestError(
        f"This method reads {reads}; these are {_PHRASES[spec.kind]}. See which method reads them: narrows list"
    )


def _plain(spec: Spec | tuple[int, ...] | int) -> Spec:
    if isinstance(spec, Spec):
        return spec
    if isinstance(spec, int):
        return Spec((spec,))
    if (
        isinstance(spec, (tuple, list, torch.Size))
        and spec
        and all(isinstance(n, int) and n > 0 for n in spec)
    ):
        return Spec(tuple(spec))
    raise refuse("spec", spec, "a Spec or the shape of one example, such as (1, 28, 28)")


def _shape(form: Any, nodes: bool = False) -> tuple[int, ...]:
    """Check a shape; a shape of nodes may end with 0, for nodes without features."""
    sizes = form[:-1] if nodes and isinstance(form, (list, tuple)) and form[-1:] in ([0], (0,)) else form
    if not isinstance(form, (list, tuple)) or not all(type(n) is int and n > 0 for n in sizes):
        raise refuse("shape", form, "whole numbers of at least 1")
    return tuple(form)


def _count(form: Any) -> int:
    if type(form) is not int or form < 0:
        raise refuse("spec", form, "a whole number of at least 0")
    return form
