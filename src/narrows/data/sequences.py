"""Texts and series, from what a reader hands over to data sets.

A reader hands over one object an example: a text, or an array (T, C) of steps with its own T.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from narrows.core import Spec
from narrows.core.check import RequestError
from narrows.core.vocabulary import symbols_of
from narrows.data.assemble import Split, class_names, divide, limited, numbered
from narrows.data.dataset import Dataset, Source
from narrows.data.raw import Raw
from narrows.data.readers.text import tokenised
from narrows.data.scaling import Scaling, fit_scaling, values_of
from narrows.data.stores import Ragged

__all__ = ["listed", "series_like", "series_source", "text_source", "texts_like"]


def listed(rows: Sequence[Any]) -> np.ndarray:
    """Examples as an array of objects, (N,), whatever each of them is.

    Example:
        >>> listed([np.zeros(2), np.zeros(2)]).shape
        (2,)
    """
    array = np.empty(len(rows), dtype=object)
    for i, row in enumerate(rows):
        array[i] = row
    return array


def text_source(
    raw: Raw,
    name: str,
    split: Split,
    how: Mapping[str, Any],
    *,
    unit: str = "characters",
    least: int = 1,
    spec: Mapping[str, Any] | None = None,
) -> Source:
    """Divide texts, and number their symbols by those of the training part.

    Args:
        raw: its x are texts.
        name: short name for reports.
        split: how examples are divided.
        how: the arguments of `open` that lead here again.
        unit: ``characters`` or ``words``.
        least: how often a symbol must stand in the training part to be one of the vocabulary.
        spec: what `Source.describe` wrote, whose vocabulary and classes hold then.

    Raises:
        RequestError: a part without texts, or texts that are not those described.
    """
    parts = _parts(raw, name, split)
    classes = tuple(spec["class_names"]) if spec else class_names(*parts)
    vocabulary = tuple(spec["vocabulary"]) if spec else symbols_of(parts[0].x, unit, least)
    stores = [_tokens(part, vocabulary, unit) for part in parts]
    longest = spec["shape"][0] if spec else max(store.shape[1] for store in stores)
    train, test = (
        _text_part(part, store, longest, classes, name) for part, store in zip(parts, stores, strict=True)
    )
    found = Spec((longest,), "tokens", len(classes), kind="tokens", vocabulary=vocabulary, rows=len(train))
    _as_described(spec, train, test, name)
    return Source(name, replace(train, truth=raw.truth), replace(test, truth=raw.truth), found, dict(how), raw.truth)


def texts_like(raw: Raw, name: str, description: Mapping[str, Any], limit: int | None = None) -> Dataset:
    """Other texts, numbered by the described vocabulary; longer ones than the longest described are refused.

    Raises:
        RequestError: a text that is too long.
    """
    part, spec = limited(raw.test or raw, limit), description["spec"]
    store = _tokens(part, tuple(spec["vocabulary"]), description.get("tokens", "characters"))
    longest = int(spec["shape"][0])
    if store.shape[1] > longest:
        row = int(store.lengths.argmax())
        raise RequestError(
            f"Text {row} of `{name}` has {store.shape[1] - 1} symbols, but the longest of the fit had {longest - 1}. "
            f"Leave out longer ones: ``longest={longest - 1}``."
        )
    return _text_part(part, store, longest, _known_classes(part, spec), name)


def series_source(
    raw: Raw,
    name: str,
    split: Split,
    scale: str,
    how: Mapping[str, Any],
    *,
    scaling: Mapping[str, Any] | None = None,
    spec: Mapping[str, Any] | None = None,
) -> Source:
    """Divide and scale series.

    Args:
        raw: its x are arrays (T, C) with NaN where nothing was observed; its column ``times``, if there is one, has
            the times of each, (T,).
        name: short name for reports.
        split: how examples are divided.
        scale: as for `open`; fitted on what was observed of the training part.
        how: the arguments of `open` that lead here again.
        scaling: a scaling that was described, instead.
        spec: what `Source.describe` wrote; the series must still be like it.

    Raises:
        RequestError: a part without series, nothing observed of a column, or series that are not those described.
    """
    parts = _parts(raw, name, split)
    classes = tuple(spec["class_names"]) if spec else class_names(*parts)
    fitted = Scaling.of(scaling) if scaling else _fitted(parts[0], raw.scale if scale == "auto" else scale, name)
    train, test = (_series_part(part, fitted, 0, classes, name) for part in parts)
    longest = spec["shape"][0] if spec else max(train.x.shape[1], test.x.shape[1])
    channels = train.x.shape[2]
    shape = (longest, channels)
    conditions: dict[str, tuple[int, ...]] = {"times": (longest,)} if "times" in raw.stores else {}
    # Rows of equal length without holes are plain arrays; a mask comes with rows of unequal length.
    if train.holes or test.holes:
        train, test = replace(train, holes=True), replace(test, holes=True)
        conditions["observed"] = shape
    seen = torch.from_numpy(np.concatenate(list(parts[0].x)))
    values = spec["values"] if spec and "values" in spec else values_of(seen[~seen.isnan().any(1)][None], fitted)
    if spec and list(spec["shape"][1:]) != [channels]:
        raise RequestError(f"The series of `{name}` have {channels} columns, those of the fit {spec['shape'][1]}.")
    _as_described(spec, train, test, name)
    found = Spec(shape, values, len(classes), kind="series", conditions=conditions, rows=len(train))
    whole = (replace(part, shape=shape, truth=raw.truth) for part in (train, test))
    return Source(name, *whole, found, dict(how), raw.truth)


def series_like(raw: Raw, name: str, description: Mapping[str, Any], limit: int | None = None) -> Dataset:
    """Other series, scaled as the described ones; they may be longer.

    Raises:
        RequestError: another number of columns, or no times where the fit had some.
    """
    part, spec = limited(raw.test or raw, limit), description["spec"]
    longest, channels = spec["shape"]
    if part.x[0].shape[1] != channels:
        raise RequestError(f"The series of `{name}` have {part.x[0].shape[1]} columns, those of the fit {channels}.")
    if "times" in spec.get("conditions", {}) and "times" not in part.stores:
        raise RequestError(f"The series of `{name}` have no times, and those of the fit had. Give them.")
    fitted = Scaling.of(description["scaling"])
    return _series_part(part, fitted, longest, _known_classes(part, spec), name)


def _parts(raw: Raw, name: str, split: Split) -> tuple[Raw, Raw]:
    """The training and the test part, neither of them empty."""
    train, test = (limited(part, split.limit) for part in divide(raw, split))
    for part, called in ((train, "training"), (test, "test")):
        if not len(part.x):
            raise RequestError(f"The {called} part of `{name}` is empty. Give more data, or another ``split``.")
    return train, test


def _as_described(spec: Mapping[str, Any] | None, train: Dataset, test: Dataset, name: str) -> None:
    """Hold data that are opened again to the count of rows of their description."""
    if spec and list(spec["rows"]) != [len(train), len(test)]:
        raise RequestError(
            f"The data `{name}` changed: {len(train)} + {len(test)} examples now, {spec['rows'][0]} + "
            f"{spec['rows'][1]} when they were described. Put the old data back, or fit anew."
        )


def _known_classes(part: Raw, spec: Mapping[str, Any]) -> tuple[str, ...]:
    """The described classes, where the labels of other data are among them."""
    known = tuple(spec["class_names"])
    return known if part.labels is not None and set(class_names(part, part)) <= set(known) else ()


def _labels(part: Raw, classes: tuple[str, ...], name: str) -> Tensor | None:
    return numbered(part.labels, classes, name) if part.labels is not None and classes else None


def _tokens(part: Raw, vocabulary: tuple[str, ...], unit: str) -> Ragged:
    values, ends = tokenised(list(part.x), vocabulary, unit)
    return Ragged(torch.from_numpy(values), torch.from_numpy(ends.astype(np.int64)))


def _text_part(part: Raw, store: Ragged, longest: int, classes: tuple[str, ...], name: str) -> Dataset:
    labels = _labels(part, classes, name)
    kept = classes if labels is not None else ()
    return Dataset(store, Scaling(), (longest,), labels=labels, class_names=kept)


def _fitted(part: Raw, scale: str, name: str) -> Scaling:
    """A scaling of the numbers that were observed, column by column."""
    values = np.concatenate(list(part.x)).astype(np.float64)
    empty = np.flatnonzero(np.isnan(values).all(0))
    if len(empty):
        raise RequestError(f"Column {empty[0]} of `{name}` holds no number at all. Leave it out.")
    # As many numbers of each column as of the fullest, drawn evenly from those that it has.
    most = int((~np.isnan(values)).sum(0).max())
    columns = []
    for column in values.T:
        known = column[~np.isnan(column)]
        columns.append(known[np.arange(most) * len(known) // most])
    return fit_scaling(torch.from_numpy(np.stack(columns, 1)), scale)


def _series_part(part: Raw, scaling: Scaling, longest: int, classes: tuple[str, ...], name: str) -> Dataset:
    ends = torch.from_numpy(np.cumsum([len(row) for row in part.x], dtype=np.int64))
    values = np.concatenate(list(part.x)).astype(np.float32)
    times = part.stores.get("times")
    columns = {}
    if times is not None:
        columns["times"] = Ragged(torch.from_numpy(np.concatenate(list(times)).astype(np.float32)), ends)
    store = Ragged(torch.from_numpy(values), ends)
    labels = _labels(part, classes, name)
    return Dataset(
        store,
        scaling,
        (max(longest, store.shape[1]), values.shape[1]),
        labels=labels,
        class_names=classes if labels is not None else (),
        columns=columns,
        holes=bool(np.isnan(values).any()),
        always=tuple(columns),
    )
