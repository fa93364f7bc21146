"""Several modalities of the same examples: named arrays, any of which may be missing in any row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from narrows.core.check import RequestError, fraction, refuse
from narrows.data.raw import Raw
from narrows.data.shapes import infer_layout

__all__ = ["RawViews", "few", "hidden", "labelled", "raw_part", "refuse_empty", "separate"]

_SUFFIX = "_present"
_MOST_CLASSES = 100
"""A column of integers with more distinct values than this is not a column of classes."""


@dataclass
class RawViews:
    """Several modalities from a file or a generator, before split, scaling and checks.

    Args:
        parts: the examples of each modality, N rows each; absent rows are zeros. A modality of classes has class
            indices, (N, 1) int64, and `class_names`.
        present: the mask of present modalities, (N, M) bool.
        test: the official test set, if there is one.
        part: whether each example belongs to the test set, (N,) bool.
        split: the default fraction of the test set.
        truth: for synthetic data, the generating process.
    """

    parts: Mapping[str, Raw]
    present: np.ndarray
    test: RawViews | None = None
    part: np.ndarray | None = None
    split: float = 0.1
    truth: Any = None

    in_order: ClassVar[bool] = False
    groups: ClassVar[None] = None
    spans: ClassVar[None] = None

    def __len__(self) -> int:
        return len(self.present)

    def rows(self, rows: np.ndarray | slice) -> RawViews:
        """Some of the examples (without the test part)."""
        parts = {name: raw.rows(rows) for name, raw in self.parts.items()}
        return replace(self, parts=parts, present=self.present[rows], test=None, part=None)


def separate(
    arrays: Mapping[str, np.ndarray], what: str = "The data", layout: str = "auto", least: int = 2
) -> RawViews:
    """Read modalities from named arrays.

    A modality is absent from a row if all its numbers are NaN, if its text is empty, or if ``NAME_present`` is 0.

    Args:
        arrays: (N, ...) each; ``NAME_present``, (N,), belongs to NAME.
        what: the source of the arrays, for messages.
        layout: the memory layout of examples with more than one axis, see `narrows.data.shapes`.
        least: minimum number of modalities.

    Raises:
        RequestError: too few modalities, arrays of different lengths, a row that is partly NaN, or one without
            any modality.

    Example:
        >>> found = separate({"a": np.array([[1.0, 2.0], [np.nan, np.nan]]), "b": np.array(["x", "y"])})
        >>> found.present.tolist(), found.parts["b"].class_names
        ([[True, True], [False, True]], ('x', 'y'))
    """
    marks = {n: a for n, a in arrays.items() if n.endswith(_SUFFIX) and n.removesuffix(_SUFFIX) in arrays}
    named = {name: np.asarray(array) for name, array in arrays.items() if name not in marks}
    if len(named) < least:
        raise RequestError(
            f"{what} have {len(named)} modality: {', '.join(named) or 'no array'}. Several modalities are several "
            "arrays, such as `image` and `label`, with one row per example in each."
        )
    _same_length(named, what)
    values, present = {}, {}
    for name, array in named.items():
        if any(c in name for c in "/=,;"):
            raise refuse("name", name, "the name of a modality, without any of `/ = , ;`")
        values[name], here = _filled(name, array)
        mark = marks.get(f"{name}{_SUFFIX}")
        present[name] = here if mark is None else here & _truth(name, mark, len(here))
    there = np.stack(list(present.values()), 1)
    refuse_empty(there, what)
    return RawViews(
        {name: raw_part(name, array, present[name], layout) for name, array in values.items()}, there
    )


def raw_part(name: str, array: np.ndarray, here: np.ndarray, layout: str = "auto") -> Raw:
    """One modality: classes as class indices, others unchanged (numbers (N,) become (N, 1))."""
    if _is_classes(array[here]):
        names, numbers = np.unique(array[here].ravel(), return_inverse=True)
        x = np.zeros((len(array), 1), np.int64)
        x[here, 0] = numbers
        return Raw(x, class_names=tuple(str(n) for n in names.tolist()), layout="vector", scale="none")
    if array.dtype == object:
        raise refuse(name, f"texts of shape {array.shape}", "one text per row, or numbers")
    return Raw(array[:, None] if array.ndim == 1 else array, layout=layout if array.ndim > 2 else "auto")


def labelled(raw: Raw, least: int = 2) -> RawViews:
    """Examples and their labels as two modalities, ``image`` (or ``x``) and ``label``; the test set likewise.

    Args:
        raw: the examples.
        least: minimum number of modalities; with 1, examples without labels are allowed.

    Raises:
        RequestError: there are no labels.

    Example:
        >>> found = labelled(Raw(np.zeros((3, 8, 8), np.uint8), np.array(["a", "b", "a"])))
        >>> list(found.parts), found.parts["label"].x[:, 0].tolist()
        (['image', 'label'], [0, 1, 0])
    """
    both = [raw] if raw.test is None else [raw, raw.test]
    called = "image" if infer_layout(raw.x, raw.layout) in ("image", "chw", "hwc") else "x"
    if least < 2 and all(part.labels is None for part in both):
        one = raw if raw.test is None else raw.test
        return RawViews({called: replace(one, test=None)}, np.ones((len(one.x), 1), bool))
    if any(part.labels is None for part in both):
        raise RequestError(
            "These data have one modality: one array, without labels. Several modalities are several "
            "arrays in one file, such as np.savez('pairs.npz', image=..., caption=...), or files in one folder."
        )
    classes = [np.asarray(part.labels).reshape(len(part.x)) for part in both]
    names = raw.class_names or tuple(str(name) for name in np.unique(np.concatenate(classes)).tolist())
    place = {name: i for i, name in enumerate(names)}
    found = []
    for part, own in zip(both, classes, strict=True):
        numbers = np.array([place.get(str(name), name) for name in own.tolist()], np.int64)
        kept = replace(part, labels=None, class_names=(), test=None, part=None)
        label = Raw(numbers[:, None], class_names=names, layout="vector", scale="none")
        found.append(RawViews({called: kept, "label": label}, np.ones((len(own), 2), bool), split=raw.split))
    found[0].part, found[0].truth = raw.part, raw.truth
    found[0].test = found[1] if len(found) > 1 else None
    return found[0]


def refuse_empty(present: np.ndarray, what: str) -> None:
    """Raise an error for rows without any modality."""
    none = np.flatnonzero(~present.any(1))
    if len(none):
        raise RequestError(
            f"{what} have {len(none)} rows without any modality; the first is row {none[0]}. Drop those rows."
        )


def hidden(present: np.ndarray, share: float, seed: int = 0) -> np.ndarray:
    """Hide a fraction of the present entries at random; every row keeps at least one modality.

    Args:
        present: the mask of present modalities, (N, M) bool.
        share: fraction of the present entries.
        seed: seed of the draw.

    Raises:
        RequestError: a fraction that would leave rows without any modality.

    Example:
        >>> here = hidden(np.ones((300, 3), bool), 1 / 3)
        >>> int(here.sum()), bool(here.any(1).all())
        (600, True)
    """
    rng = np.random.default_rng((seed, 3))
    order = np.where(present, rng.random(present.shape), 2.0)
    free = np.flatnonzero((present & (order != order.min(1, keepdims=True))).ravel())
    count = round(fraction("missing", share) * int(present.sum()))
    if count > len(free):
        most = len(free) / max(1, int(present.sum()))
        raise refuse("missing", share, f"at most {most:.3f}, so that every row keeps one of its modalities")
    kept = present.copy().ravel()
    kept[rng.choice(free, count, replace=False)] = False
    return kept.reshape(present.shape)


def _same_length(named: Mapping[str, np.ndarray], what: str) -> None:
    lengths = {name: len(array) if array.ndim else 0 for name, array in named.items()}
    if len(set(lengths.values())) > 1 or not all(lengths.values()):
        listed = ", ".join(f"`{name}` {n}" for name, n in lengths.items())
        raise RequestError(
            f"{what} must have one row per example in every modality, but the rows are: {listed}."
        )


def _filled(name: str, array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """An array with zeros (or empty text) in absent rows, and the mask of present rows."""
    if array.dtype.kind in "OUS":
        texts = np.array(
            ["" if v is None or v != v else str(v) for v in array.ravel().tolist()], dtype=object
        )
        texts = texts.reshape(array.shape)
        return texts, (texts != "").reshape(len(texts), -1).any(1)
    if array.dtype.kind not in "fiub":
        raise refuse(name, f"an array of type {array.dtype}", "numbers or text")
    if array.dtype.kind != "f":
        return array, np.ones(len(array), bool)
    holes = np.isnan(array).reshape(len(array), -1)
    here = ~holes.all(1)
    partly = np.flatnonzero(holes.any(1) & here)
    if len(partly):
        raise RequestError(
            f"`{name}` has missing numbers in {len(partly)} rows; the first is row {partly[0]}. A modality is "
            "present or absent as a whole: set all numbers of the row to NaN, or fill it. (For a table with missing "
            "cells use `missing-iwae`.)"
        )
    return (array if here.all() else np.where(here.reshape(-1, *[1] * (array.ndim - 1)), array, 0)), here


def _truth(name: str, mark: np.ndarray, rows: int) -> np.ndarray:
    """`NAME_present` as booleans."""
    flat = np.asarray(mark).reshape(-1)
    if len(flat) != rows or not np.isin(flat, (0, 1)).all():
        raise refuse(
            f"{name}{_SUFFIX}",
            f"{len(flat)} values",
            f"{rows} values that are 0 or 1, one per row of `{name}`",
        )
    return flat.astype(bool)


def _is_classes(values: np.ndarray) -> bool:
    """Whether a modality is classes: one text or integer per row, with few distinct values."""
    if values.ndim > 2 or (values.ndim == 2 and values.shape[1] != 1):
        return False
    if values.dtype == object:
        return True
    return values.dtype.kind in "iub" and values.ndim == 1 and few(values)


def few(values: np.ndarray) -> bool:
    """Whether integers have few enough distinct values to be classes."""
    return len(np.unique(values)) <= _MOST_CLASSES
