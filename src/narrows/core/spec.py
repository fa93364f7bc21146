"""`Spec`: what one example looks like, all that a builder needs to know of the data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypeAlias, get_args

import torch

from narrows.core.check import RequestError, choice, refuse

__all__ = ["KINDS", "Kind", "Spec", "Values", "as_spec"]

Kind: TypeAlias = Literal["array", "series", "tokens", "graph", "field", "table", "views"]
Values: TypeAlias = Literal["binary", "unit", "real", "categories", "counts", "tokens"]

KINDS: tuple[Kind, ...] = get_args(Kind)

_SAID: dict[str, str] = {
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
    """What one example looks like.

    Args:
        shape: shape of one example: ``(D,)`` a vector or the columns of a table, ``(C, H, W)`` an image, ``(T, C)`` a
            series, ``(T,)`` tokens, ``(N, F)`` the nodes of a graph, ``(P, C)`` the points of a field, the longest
            where lengths differ; ``()`` for several modalities, which `parts` describes.
        values: ``binary`` (0 or 1), ``unit`` (from 0 to 1), ``real``, ``categories`` (class numbers), ``counts`` or
            ``tokens``.
        classes: how many label classes there are, 0 without labels; of ``categories``, how many values.
        target: shape of what must be produced, where it is not the input itself.
        kind: what an example is.
        vocabulary: the symbols of tokens, in order.
        conditions: what a method may be told, by name: the shape of one row.
        parts: the modalities, or the columns of a mixed table, in order.
        rows: how many training rows there are; 0 where nobody counted.
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

    def __hash__(self) -> int:
        return hash((self.shape, self.values, self.classes, self.target, self.kind, self.vocabulary))

    def __repr__(self) -> str:
        """What differs from an array of real numbers."""
        plain = {f.name: f.default for f in fields(self)} | {"conditions": {}, "parts": {}}
        said = [f"shape={self.shape}"]
        said += [f"{n}={v!r}" for n, v in vars(self).items() if n != "shape" and v != plain[n]]
        return f"Spec({', '.join(said)})"

    @property
    def output_shape(self) -> tuple[int, ...]:
        """The shape of what the decoder must produce."""
        return self.shape if self.target is None else self.target

    @property
    def size(self) -> int:
        """How many numbers one example has."""
        return math.prod(self.shape)

    def to_json(self) -> dict[str, Any]:
        """The spec as JSON holds it; what is as usual is left out.

        Example:
            >>> Spec((2,), kind="table", parts={"age": Spec(()), "sex": Spec((), "categories", 2)}).to_json()["parts"]
            {'age': {'shape': []}, 'sex': {'shape': [], 'values': 'categories', 'classes': 2}}
        """
        form: dict[str, Any] = {"shape": list(self.shape)}
        for name, usual in (("values", "real"), ("classes", 0), ("kind", "array"), ("rows", 0)):
            if getattr(self, name) != usual:
                form[name] = getattr(self, name)
        if self.target is not None:
            form["target"] = list(self.target)
        if self.vocabulary:
            form["vocabulary"] = list(self.vocabulary)
        if self.conditions:
            form["conditions"] = {name: list(shape) for name, shape in self.conditions.items()}
        if self.parts:
            form["parts"] = {name: part.to_json() for name, part in self.parts.items()}
        return form

    @classmethod
    def from_json(cls, form: Mapping[str, Any]) -> Spec:
        """The inverse of `to_json`; what is no spec is refused.

        Raises:
            RequestError: an entry that is missing, unknown or of another type.

        Example:
            >>> Spec.from_json(Spec((3,), "counts").to_json())
            Spec(shape=(3,), values='counts')
        """
        known = {f.name for f in fields(cls)}
        if not isinstance(form, Mapping) or not set(form) <= known or "shape" not in form:
            raise refuse("spec", form, f"entries of {', '.join(sorted(known))}, with a shape")
        try:
            target = form.get("target")
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
            )
        except (TypeError, ValueError, AttributeError) as error:
            if isinstance(error, RequestError):
                raise
            raise refuse("spec", form, "what `Spec.to_json` wrote") from error


def as_spec(spec: Spec | tuple[int, ...] | int, *kinds: Kind) -> Spec:
    """Accept a shape, or a width, where a `Spec` is wanted; data of a kind that a method does not read are refused.

    Args:
        spec: what the data look like, or the shape of one example.
        kinds: what is read; arrays when left out. Series of equal length and complete tables of numbers are arrays
            too, and are read where ``series`` or ``table`` is.

    Raises:
        RequestError: no shape, or data of another kind.

    Example:
        >>> as_spec(8).shape
        (8,)
        >>> as_spec(Spec((9, 3), kind="graph"))
        Traceback (most recent call last):
        narrows.core.check.RequestError: This method reads arrays; these are a graph. See which method reads them: ...
    """
    spec = _plain(spec)
    wanted = kinds or ("array",)
    also = {"series": 2, "table": 1}
    if spec.kind in wanted or (
        spec.kind == "array" and any(len(spec.shape) == also.get(kind) for kind in wanted)
    ):
        return spec
    reads = " or ".join(_SAID[kind] for kind in wanted)
    raise RequestError(
        f"This method reads {reads}; these are {_SAID[spec.kind]}. See which method reads them: narrows list"
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
    """A shape; that of nodes may end with 0, for nodes without data."""
    sizes = form[:-1] if nodes and isinstance(form, (list, tuple)) and form[-1:] in ([0], (0,)) else form
    if not isinstance(form, (list, tuple)) or not all(type(n) is int and n > 0 for n in sizes):
        raise refuse("shape", form, "whole numbers of at least 1")
    return tuple(form)


def _count(form: Any) -> int:
    if type(form) is not int or form < 0:
        raise refuse("spec", form, "a whole number of at least 0")
    return form
