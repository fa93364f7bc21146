"""Texts and series, from a reader's output to data sets.

A reader gives one object per example: a text, or an array (T, C) of steps with its own T.
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
from narrows.core.vocabulary import SPECIAL, UNKNOWN, split_text, symbols_of, text_to_indices
from narrows.data.assemble import class_names, numbered
from narrows.data.dataset import Dataset, Source
from narrows.data.mapped import on_disk
from narrows.data.raw import Raw, RawTexts
from narrows.data.scaling import Scaling, check_counts, fit_scaling, values_of
from narrows.data.shapes import infer_layout
from narrows.data.split import Split, limited, train_and_test
from narrows.data.stores import Ragged, Store

__all__ = [
    "SEQUENCES",
    "as_series",
    "listed",
    "sequence_source",
    "sequences_like",
    "series_source",
    "text_source",
    "tokenised",
]


SEQUENCES = ("series", "tokens")
"""Kinds of data whose examples have variable length."""

_EVEN = Split()
"""The default split."""


def listed(rows: Sequence[Any]) -> np.ndarray:
    """Examples as an array of objects, (N,).

    Example:
        >>> listed([np.zeros(2), np.zeros(2)]).shape
        (2,)
    """
    array = np.empty(len(rows), dtype=object)
    for i, row in enumerate(rows):
        array[i] = row
    return array


def as_series(raw: Raw) -> Raw:
    """Sequences of equal length (N, T, C) with missing values as series; other data as they are.

    Example:
        >>> as_series(Raw(np.full((2, 3, 1), np.nan))).kind
        'series'
    """
    x = raw.x
    if (
        raw.kind != "array"
        or not isinstance(x, np.ndarray)
        or x.ndim != 3
        or x.dtype.kind != "f"
        or on_disk(x)
    ):
        return raw
    if not np.isnan(x).any() or infer_layout(x, raw.layout) != "sequence":
        return raw
    test = None if raw.test is None else replace(raw.test, x=listed(list(raw.test.x)), kind="series")
    return replace(raw, x=listed(list(x)), kind="series", test=test)


def sequence_source(raw: Raw, name: str, split: Split, scale: str) -> Source:
    """Texts or series as a `Source`: see `text_source` and `series_source`."""
    return (
        text_source(raw, name, split) if isinstance(raw, RawTexts) else series_source(raw, name, split, scale)
    )


def sequences_like(raw: Raw, name: str, description: Mapping[str, Any], limit: int | None) -> Dataset:
    """Other texts or series, read like described ones: see `texts_like` and `series_like`."""
    alike = texts_like if isinstance(raw, RawTexts) else series_like
    return alike(raw, name, description, limit)


def text_source(
    raw: RawTexts,
    name: str,
    split: Split = _EVEN,
    *,
    vocabulary: tuple[str, ...] = (),
    longest: int = 0,
) -> Source:
    """Split texts, and tokenise them with the vocabulary of the training set.

    Args:
        raw: the texts.
        name: name for messages.
        split: how examples are divided.
        vocabulary: all tokens, if they are known in advance.
        longest: number of tokens of the longest text with its end token, if known in advance.

    Raises:
        RequestError: an empty part.
    """
    parts = train_and_test(raw, name, split)
    classes = class_names(*parts)
    vocabulary = vocabulary or symbols_of(parts[0].x, raw.unit, raw.least)
    stores = [_tokens(part, vocabulary, raw.unit) for part in parts]
    longest = max(longest, *(store.shape[1] for store in stores))
    train, test = (
        _text_part(part, store, longest, classes, name) for part, store in zip(parts, stores, strict=True)
    )
    spec = Spec((longest,), "tokens", len(classes), kind="tokens", vocabulary=vocabulary, rows=len(train))
    return Source("", train, test, spec, truth=raw.truth)


def texts_like(raw: Raw, name: str, description: Mapping[str, Any], limit: int | None = None) -> Dataset:
    """Other texts, tokenised with the described vocabulary; texts that are too long raise an error.

    Raises:
        RequestError: a text is longer than the longest described one, or has a symbol that no training text has, where
            a model has not seen the unknown token.
    """
    part, spec = limited(raw if raw.test is None else raw.test, limit), description["spec"]
    unit = description.get("tokens", "characters")
    store = _tokens(part, tuple(spec["vocabulary"]), unit)
    if description.get("least", 1) == 1:
        _all_known(part.x, store, spec["vocabulary"], unit, name)
    longest = int(spec["shape"][0])
    if store.shape[1] > longest:
        row = int(store.lengths.argmax())
        raise RequestError(
            f"Text {row} of `{name}` has {store.shape[1] - 1} tokens, but the longest training text has "
            f"{longest - 1}. Leave out longer ones: ``longest={longest - 1}``."
        )
    return _text_part(part, store, longest, _known_classes(part, spec), name)


def _all_known(texts: Sequence[str], store: Ragged, vocabulary: Sequence[str], unit: str, name: str) -> None:
    """Raise an error if a text has a symbol outside the vocabulary."""
    unknown = (store.values == UNKNOWN).nonzero()
    if len(unknown):
        row = int(torch.searchsorted(store.ends, unknown[0, 0], right=True))
        known = set(vocabulary) - set(SPECIAL)
        symbol = next(s for s in split_text(texts[row], unit) if s not in known)
        raise RequestError(
            f"Text {row} of `{name}` has {symbol!r}, which is in no training text. Leave such texts out, or fit with "
            f"``least=2``: {unit} that occur once are then read as unknown, and so are new ones."
        )


def series_source(raw: Raw, name: str, split: Split = _EVEN, scale: str = "auto") -> Source:
    """Split and scale series.

    Args:
        raw: series whose x are arrays (T, C) with NaN for missing values; an optional store ``times`` has the
            times of each, (T,). Other stores become columns, which no model reads.
        name: name for messages.
        split: how examples are divided.
        scale: as in `narrows.data.open`; fitted on the observed values of the training set.

    Raises:
        RequestError: an empty part, or a column without observed values.
    """
    parts = train_and_test(raw, name, split)
    classes = class_names(*parts)
    scaling = _fitted(parts[0], raw.scale if scale == "auto" else scale, name)
    longest = max(len(row) for part in parts for row in part.x)
    train, test = (_series_part(part, scaling, longest, classes, name) for part in parts)
    shape = train.shape
    conditions: dict[str, tuple[int, ...]] = {"times": shape[:1]} if "times" in raw.stores else {}
    if train.holes or test.holes:
        conditions["observed"] = shape
    seen = torch.from_numpy(np.concatenate(list(parts[0].x)).astype(np.float32))
    values = values_of(seen[~seen.isnan().any(1)].unsqueeze(0), scaling)
    spec = Spec(shape, values, len(classes), kind="series", conditions=conditions, rows=len(train))
    holes = "observed" in conditions
    train, test = (replace(part, holes=holes, truth=raw.truth) for part in (train, test))
    return Source("", train, test, spec, truth=raw.truth, left_out=raw.left_out)


def series_like(raw: Raw, name: str, description: Mapping[str, Any], limit: int | None = None) -> Dataset:
    """Other series, scaled as the described ones; they may be longer.

    Raises:
        RequestError: another number of columns, or no times if the training data have times.
    """
    part, spec = limited(raw if raw.test is None else raw.test, limit), description["spec"]
    longest, channels = spec["shape"]
    if part.x[0].shape[1] != channels:
        raise RequestError(
            f"The series of `{name}` have {part.x[0].shape[1]} columns, the training data {channels}."
        )
    if "times" in spec.get("conditions", {}) and "times" not in part.stores:
        raise RequestError(f"The series of `{name}` have no times, but the training data do. Give them.")
    fitted = Scaling.of(description["scaling"])
    return _series_part(part, fitted, longest, _known_classes(part, spec), name)


def _known_classes(part: Raw, spec: Mapping[str, Any]) -> tuple[str, ...]:
    """The described classes, if they include the labels of other data."""
    known = tuple(spec["class_names"])
    return known if part.labels is not None and set(class_names(part, part)) <= set(known) else ()


def _labels(part: Raw, classes: tuple[str, ...], name: str) -> Tensor | None:
    return numbered(part.labels, classes, name) if part.labels is not None and classes else None


def tokenised(texts: Sequence[str], vocabulary: Sequence[str], unit: str) -> tuple[np.ndarray, np.ndarray]:
    """The token ids of all texts, concatenated, and the end of each text, with its end token.

    Example:
        >>> from narrows.core.vocabulary import SPECIAL
        >>> tokenised(["ab", "b"], (*SPECIAL, "a", "b"), "characters")
        (array([4, 5, 2, 5, 2]), array([3, 5]))
    """
    known = {symbol: i for i, symbol in enumerate(vocabulary)}
    rows = [text_to_indices(text, known, unit) for text in texts]
    return np.concatenate([np.array(row, np.int64) for row in rows]), np.cumsum([len(row) for row in rows])


def _tokens(part: Raw, vocabulary: tuple[str, ...], unit: str) -> Ragged:
    values, ends = tokenised(list(part.x), vocabulary, unit)
    return Ragged(torch.from_numpy(values), torch.from_numpy(ends.astype(np.int64)))


def _text_part(part: Raw, store: Ragged, longest: int, classes: tuple[str, ...], name: str) -> Dataset:
    labels = _labels(part, classes, name)
    kept = classes if labels is not None else ()
    return Dataset(store, Scaling(), (longest,), labels=labels, class_names=kept)


def _fitted(part: Raw, scale: str, name: str) -> Scaling:
    """The scaling of the observed numbers of each column."""
    values = np.concatenate(list(part.x)).astype(np.float64)
    empty = np.flatnonzero(np.isnan(values).all(0))
    if len(empty):
        column = f"`{part.columns[empty[0]]}`" if part.columns else empty[0]
        raise RequestError(f"Column {column} of `{name}` has no observed values. Leave it out.")
    # From each column as many numbers as the column with the most has, evenly spaced.
    most = int((~np.isnan(values)).sum(0).max())
    columns = []
    for column in values.T:
        known = column[~np.isnan(column)]
        columns.append(known[np.arange(most) * len(known) // most])
    return fit_scaling(torch.from_numpy(np.stack(columns, 1)), scale)


def _series_part(part: Raw, scaling: Scaling, longest: int, classes: tuple[str, ...], name: str) -> Dataset:
    ends = torch.from_numpy(np.cumsum([len(row) for row in part.x], dtype=np.int64))
    longest = max(longest, *(len(row) for row in part.x))

    def steps(rows: Any) -> Ragged:
        return Ragged(torch.from_numpy(np.concatenate(list(rows)).astype(np.float32)), ends, longest)

    store = steps(part.x)
    if scaling.kind == "counts":
        check_counts(store.values)
    columns: dict[str, Store] = {  # of each step, or of each series
        called: steps(column) if column.dtype == object else torch.from_numpy(column)
        for called, column in part.stores.items()
    }
    labels = _labels(part, classes, name)
    return Dataset(
        store,
        scaling,
        (longest, store.values.shape[1]),
        labels=labels,
        class_names=classes if labels is not None else (),
        columns=columns,
        holes=bool(store.values.isnan().any()),
        always=("times",) if "times" in columns else (),
    )
