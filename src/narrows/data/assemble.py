"""From a reader's output to data sets: checks, split, labels, scaling."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from narrows.activations.provenance import FACTS
from narrows.activations.rows import ActivationRows
from narrows.core import Spec
from narrows.core.check import RequestError, refuse
from narrows.data.dataset import Dataset, Source
from narrows.data.domain import Domain
from narrows.data.fields import as_fields
from narrows.data.mapped import exactly, on_disk, spread
from narrows.data.raw import Raw
from narrows.data.scaling import Scaling, are_counts, check_counts, exact, fit_columns, fit_scaling, values_of
from narrows.data.schema.written import scaled
from narrows.data.shapes import infer_layout, model_shape
from narrows.data.sparse_rows import SparseRows
from narrows.data.split import Split, limited, train_and_test
from narrows.data.stores import Once, Ragged, Store

__all__ = ["assemble", "class_names", "numbered", "one_part", "rescaled"]

_OF_THE_DATA = ("class_names", "rows", *FACTS)
"""Keys of a description that are not part of the `Spec`."""

_SAMPLE = 1 << 16
"""Maximum number of rows of memory-mapped data used to fit the scaling and to check for NaN."""


def assemble(
    raw: Raw,
    name: str,
    split: Split,
    scale: str,
    how: Mapping[str, Any],
    *,
    scaling: Mapping[str, Any] | None = None,
    target_scaling: Mapping[str, Any] | None = None,
    domain: Mapping[str, Any] | None = None,
    spec: Mapping[str, Any] | None = None,
) -> Source:
    """Check, split, limit and scale a reader's output."""
    _check(raw, name)
    _same_model(raw, spec, name)
    scale = raw.scale if scale == "auto" else scale
    raw = _dense(raw, scale)
    _check_counts(raw, scale)
    layout: str = infer_layout(raw.x, raw.layout) if raw.kind == "array" else raw.kind
    train, test = train_and_test(raw, name, split)
    classes = tuple(spec.get("class_names", ())) if spec else class_names(train, test)
    shape = model_shape(train.x.shape[1:], layout)
    fitted = Scaling.of(scaling) if scaling else _fitted(train, layout, scale)
    goal = Scaling()
    if train.target is not None:
        seen = _sample(train.target)
        own = "auto" if scale == "counts" and not are_counts(seen) else scale
        goal = Scaling.of(target_scaling) if target_scaling else fit_scaling(seen, own)
    box = raw.domain if domain is None else Domain.of(domain)
    parts = [_dataset(part, layout, shape, fitted, goal, classes, name, box) for part in (train, test)]
    found = _spec(parts[0], classes, raw)
    if spec:
        found = _expected(found, [len(p) for p in parts], spec, name)
    train_part, test_part = (replace(part, truth=raw.truth) for part in parts)
    return Source(name, train_part, test_part, found, dict(how), raw.truth, raw.left_out)


def _fitted(train: Raw, layout: str, scale: str) -> Scaling:
    """The scaling of a training set; in a mixed table only numeric columns are scaled."""
    if train.kind == "table":
        numbers = [part.values in ("real", "unit", "integer", "datetime") for part in train.parts.values()]
        return fit_columns(train.x, numbers, scale)
    return fit_scaling(_known(_oriented(_sample(train.x), layout)), scale, train.full)


def one_part(raw: Raw, name: str, description: Mapping[str, Any], limit: int | None = None) -> Dataset:
    """All examples of other data as one data set, read like the described ones."""
    raw = limited(raw if raw.test is None else raw.test, limit)
    _check(raw, name)
    spec = description["spec"]
    raw = _dense(raw, description["scaling"]["kind"])
    _check_counts(raw, description["scaling"]["kind"])
    _same_model(raw, spec, name)
    shape = tuple(spec["shape"])
    layout = _same_layout(raw, shape, name) if raw.kind == "array" else str(raw.kind)
    shape = shape if raw.kind == "array" else _same_kind(raw, spec, name)
    goal = Scaling.of(description.get("target_scaling") or Scaling())
    scaling = _as_it_comes(raw.x, Scaling.of(description["scaling"]))
    known = spec["class_names"]
    if raw.labels is not None and not raw.class_names and not set(class_names(raw, raw)) <= set(known):
        raw.labels = None  # classes that are not in the training data cannot be used as a condition
    box = Domain.of(description["domain"]) if "domain" in description else None
    return _dataset(raw, layout, shape, scaling, goal, tuple(spec["class_names"]), name, box)


def _as_it_comes(x: Any, scaling: Scaling) -> Scaling:
    """No scaling, if the described data were bytes and the given ones are fractions between 0 and 1."""
    if isinstance(x, Ragged) or scaling.kind != "unit" or scaling.shift != 0.0 or scaling.scale == 1.0:
        return scaling
    if x.dtype.kind != "f":
        return scaling
    known = x[~np.isnan(x)]
    return Scaling("unit") if len(known) and known.min() >= 0 and known.max() <= 1 else scaling


def rescaled(dataset: Dataset, description: Mapping[str, Any]) -> Dataset:
    """An opened data set with the scaling of the described data."""
    shape = tuple(description["spec"]["shape"])
    if dataset.shape != shape:
        raise _other_shape("the data", dataset.shape, shape)
    return replace(dataset, scaling=Scaling.of(description["scaling"]))


def _dense(raw: Raw, scale: str) -> Raw:
    """Rows of counts as an array, if they are scaled; else they stay compressed, and have their row numbers."""
    if scale == "counts" or not isinstance(raw.x, SparseRows):
        return raw.numbered() if scale == "counts" else raw
    return replace(raw, x=raw.x.read(slice(None)).numpy())


def _check(raw: Raw, name: str) -> None:
    """Raise an error for data that cannot be used, with the reason."""
    for part in (raw, raw.test):
        if part is None:
            continue
        _check_numbers("x", part.x.values.numpy() if isinstance(part.x, Ragged) else part.x, name, part.holes)
        if part.target is not None:
            _check_numbers("target", part.target, name)
        for called in ("target", "labels", "factors"):
            column = getattr(part, called)
            rows = None if column is None else len(column) if np.ndim(column) else 0
            if rows is not None and rows != len(part.x):
                raise refuse(called, f"{rows} rows", f"one entry for each of the {len(part.x)} examples")
    if raw.test is not None:
        for called, one, two in (("x", raw.x, raw.test.x), ("target", raw.target, raw.test.target)):
            shapes = [None if part is None else part.shape[1:] for part in (one, two)]
            if shapes[0] != shapes[1]:
                raise refuse(
                    called,
                    f"examples of shape {shapes[0]} and {shapes[1]}",
                    "of the same shape in both parts",
                )


def _check_counts(raw: Raw, scale: str) -> None:
    """Raise an error for data that are said to be counts, and are not."""
    for part in (raw, raw.test):
        if scale == "counts" and part is not None:
            whole = not isinstance(part.x, (Ragged, SparseRows)) and not on_disk(part.x)
            check_counts(_sample(part.x), rows=whole)


def _check_numbers(called: str, x: np.ndarray, name: str, holes: bool = False) -> None:
    if x.dtype.kind not in "fiub":
        raise refuse(called, f"an array of type {x.dtype} in `{name}`", "numbers", "Convert it to float32.")
    if 0 in x.shape or not x.shape:
        raise refuse(
            called, f"an array of shape {tuple(x.shape)} in `{name}`", "at least one example and value"
        )
    sample = _sample(x).numpy() if on_disk(x) else x
    if sample.dtype.kind != "f":
        return
    sample = np.nan_to_num(sample, nan=0.0, posinf=np.inf, neginf=-np.inf) if holes else sample
    if np.isfinite(sample).all():
        if sample.dtype.itemsize > 4 and max(sample.max(), -sample.min()) > np.finfo(np.float32).max:
            found = f"numbers beyond 3.4e38, the first at {_place(np.abs(sample) > np.finfo(np.float32).max)}"
            raise refuse(called, found, "numbers that fit into float32", "Rescale or clip them.")
        return
    bad = ~np.isfinite(sample)
    more = " of those checked" if on_disk(x) else ""
    raise RequestError(
        f"`{called}` of `{name}` must hold finite numbers, but {int(bad.sum())} of them{more} are NaN or infinite; "
        f"the first is at {_place(bad)}. Drop or fill those rows first, or fit a method that reads missing values: "
        "`missing-iwae`, `vae`."
    )


def _place(bad: np.ndarray) -> str:
    """The row and column of the first true entry."""
    row, *others = np.argwhere(bad)[0].tolist()
    return f"row {row}" + (f", column {', '.join(map(str, others))}" if others else "")


def class_names(train: Raw, test: Raw) -> tuple[str, ...]:
    """Names of the classes: as given, or the sorted values of the labels."""
    if train.labels is None or train.class_names:
        return train.class_names
    both = [_tidy(part.labels) for part in (train, test) if part.labels is not None]
    return tuple(str(v) for v in np.unique(np.concatenate(both)).tolist())


def _tidy(labels: np.ndarray) -> np.ndarray:
    """Labels as one column of integers or text."""
    labels = np.asarray(labels)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise refuse("labels", f"an array of shape {labels.shape}", "one label for each example, (N,)")
    if labels.dtype.kind not in "fiubOSU":
        raise refuse("labels", f"an array of type {labels.dtype}", "classes: integers or text")
    if labels.dtype.kind != "f":
        return labels
    if not (np.abs(labels) < 1 << 62).all() or not (labels == np.round(labels)).all():
        raise refuse(
            "labels",
            "fractions or NaN",
            "classes: integers or text",
            "To predict a number use ``target``.",
        )
    return labels.astype(np.int64)


def numbered(labels: np.ndarray, classes: tuple[str, ...], name: str) -> Tensor:
    """The class index of each label, (N,) int64."""
    labels = _tidy(labels)
    seen, inverse = np.unique(labels, return_inverse=True)
    number = {c: i for i, c in enumerate(classes)}
    texts = [str(v) for v in seen.tolist()]
    if not set(texts) <= set(number) and seen.dtype.kind in "iu" and 0 <= seen[0] <= seen[-1] < len(classes):
        return torch.from_numpy(labels.astype(np.int64))
    unknown = [t for t in texts if t not in number]
    if unknown:
        raise refuse(
            "labels", unknown[0], f"one of the {len(classes)} classes of `{name}`: {', '.join(classes[:8])}"
        )
    return torch.from_numpy(np.asarray([number[t] for t in texts], dtype=np.int64)[inverse])


def _sample(x: Any) -> Tensor:
    """The examples to fit a scaling on: all of them, or segments spread over a mapped file."""
    if isinstance(x, Ragged):
        return x.values
    if isinstance(x, SparseRows):
        return exact(x.values)
    return spread(cast(ActivationRows, exactly(x)), _SAMPLE) if on_disk(x) else exact(x)


def _known(x: Tensor) -> Tensor:
    """Numbers (..., C), or images (N, C, H, W); with missing values, equally many observed ones of each column, (n, C).

    Raises:
        RequestError: a column without any.
    """
    if not x.is_floating_point() or not bool(x.isnan().any()):
        return x
    images = x.ndim == 4
    rows = (x.movedim(1, -1) if images else x).reshape(-1, x.shape[1 if images else -1])
    columns = [column[~column.isnan()] for column in rows.T]
    count = min(map(len, columns))
    if not count:
        empty = next(i for i, column in enumerate(columns) if not len(column))
        raise RequestError(f"All values of column {empty} are missing. Leave it out.")
    known = torch.stack([column[:count] for column in columns], 1)
    return known[:, :, None, None] if images else known


def _kept(x: Any, scaling: Scaling) -> Store:
    """Numbers as they are stored: bytes stay bytes, others are float32 unless the scaling needs float64."""
    if isinstance(x, (Tensor, Ragged, Once, SparseRows)):
        return x
    if on_disk(x):
        return exactly(x) if scaling.far else cast(Store, x)
    if scaling.far or x.dtype in (np.uint8, np.bool_):
        return exact(x)
    return exact(np.asarray(x, dtype=np.float32))


def _cells(x: np.ndarray, scaling: Scaling) -> Tensor:
    """The cells of a table, as float64 if float32 would round whole numbers, such as dates and large integers."""
    rounded = x.astype(np.float32)
    lost = (rounded != x) & (x == np.rint(x))
    return exact(x if scaling.far or lost.any() else rounded)


def _oriented(x: Tensor, layout: str) -> Tensor:
    """Stored examples as (B, C, H, W), (B, T, D) or (B, D), so that the scaling has the right axis."""
    if layout == "image":
        return x.unsqueeze(1)
    return x.movedim(-1, 1) if layout == "hwc" else x


def _dataset(
    raw: Raw,
    layout: str,
    shape: tuple[int, ...],
    scaling: Scaling,
    goal: Scaling,
    classes: tuple[str, ...],
    name: str,
    domain: Domain | None = None,
) -> Dataset:
    def column(x: Any) -> Store:
        names = isinstance(x, np.ndarray) and not on_disk(x) and x.dtype == np.int64
        return torch.from_numpy(x) if names else _kept(x, Scaling())

    x = _kept(raw.x, scaling) if raw.kind != "table" else _cells(raw.x, scaling)
    columns = {**raw.stores} if raw.codes is None else {**raw.stores, "codes": raw.codes}
    if isinstance(x, Tensor) and layout in ("image", "hwc"):
        x = _oriented(x, layout).contiguous()
    labelled = raw.labels is not None and bool(classes)
    dataset = Dataset(
        x,
        scaling,
        shape,
        labels=numbered(cast(np.ndarray, raw.labels), classes, name) if labelled else None,
        factors=None if raw.factors is None else torch.from_numpy(raw.factors.astype(np.int64)),
        factor_names=raw.factor_names,
        class_names=classes if labelled else (),
        target=None if raw.target is None else _kept(raw.target, goal),
        target_scaling=goal,
        channels_last=layout == "hwc" and not isinstance(x, Tensor),
        columns={called: column(store) for called, store in columns.items()},
        provenance=raw.provenance,
        origin=raw.origin,
        holes=raw.holes,
        always=raw.always,
        unknown=raw.unknown,
    )
    return dataset if domain is None else as_fields(dataset, domain)


def _spec(train: Dataset, classes: tuple[str, ...], raw: Raw) -> Spec:
    kind = raw.kind
    if kind == "table":
        return Spec(train.shape, classes=len(classes), kind=kind, parts=scaled(raw.parts, train.scaling))
    if kind != "array":
        told = {name: tuple(train.columns[name].shape[1:]) for name in train.always if name == "positions"}
        values = values_of(
            _known(train.x if isinstance(train.x, Tensor) else _sample(train.x)), train.scaling
        )
        return Spec(train.shape, values, len(classes), kind=kind, conditions=told)
    told = {name: tuple(train.columns[name].shape[1:]) for name in train.columns if name == "batch"}
    told |= {"observed": train.shape} if train.holes else {}
    if isinstance(train.x, SparseRows):
        return Spec(train.shape, "counts", len(classes), conditions=told)
    sample = _sample(train.x) if train.mapped else train.x
    assert isinstance(sample, Tensor)
    ready = sample.movedim(-1, 1) if train.channels_last else sample.reshape(len(sample), *train.shape)
    values = values_of(_known(ready), train.scaling)
    if train.target is None:
        return Spec(train.shape, values, len(classes), conditions=told)
    target = train.target if isinstance(train.target, Tensor) else _sample(train.target)
    goal = values_of(target, train.target_scaling)
    other = None if goal == values else goal
    return Spec(train.shape, values, len(classes), tuple(train.target.shape[1:]), target_values=other)


def _expected(found: Spec, rows: list[int], spec: Mapping[str, Any], name: str) -> Spec:
    """Check data that are opened again against their description."""
    if list(found.shape) != list(spec["shape"]) or rows != list(spec["rows"]):
        raise RequestError(
            f"The data `{name}` changed: {rows[0]} + {rows[1]} examples of shape {found.shape} now, "
            f"{spec['rows'][0]} + {spec['rows'][1]} of shape {tuple(spec['shape'])} when they were described. "
            "Restore the old data, or fit a new model."
        )
    kept = Spec.from_json({k: v for k, v in spec.items() if k not in _OF_THE_DATA})
    return replace(found, values=kept.values, classes=found.classes)


def _same_kind(raw: Raw, spec: Mapping[str, Any], name: str) -> tuple[int, ...]:
    """The shape of examples of the described kind, with the same channels; there may be more points."""
    shape, found = tuple(spec["shape"]), tuple(raw.x.shape[1:])
    if spec.get("kind") != raw.kind or shape[1:] != found[1:]:
        raise _other_shape(f"`{name}`", found, shape)
    return found


def _same_model(raw: Raw, spec: Mapping[str, Any] | None, name: str) -> None:
    """Check that activations are of the model of the description."""
    described = (spec or {}).get("model")
    model = "" if raw.provenance is None else raw.provenance.model
    if described and model and model.casefold() != str(described).casefold():
        raise RequestError(
            f"`{name}` holds activations of {model}, but those of the fit are of {described}. "
            "Give activations of the same model."
        )


def _same_layout(raw: Raw, shape: tuple[int, ...], name: str) -> str:
    """The layout in which the examples have the expected shape."""
    stored = raw.x.shape[1:]
    for layout in ("vector", "image", "chw", "hwc", "sequence"):
        fits = len(stored) == len(shape) - (layout == "image")
        if fits and model_shape(stored, layout) == shape:
            return layout
    raise _other_shape(f"`{name}`", stored, shape)


def _other_shape(name: str, found: tuple[int, ...], shape: tuple[int, ...]) -> RequestError:
    return RequestError(
        f"The examples of {name} have the shape {tuple(found)}, but {shape} is expected. "
        "Give data like the training data."
    )
