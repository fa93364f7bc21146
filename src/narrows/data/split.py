"""The division of examples into a training and a test set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np

from narrows.core.check import RequestError, fraction, refuse, whole

__all__ = ["BY", "Divisible", "Split", "apart", "divide", "limited", "train_and_test"]


BY = ("time", "series")
"""How windows of series are divided."""

_BLOCKS = 8
"""Consecutive windows that overlap are held out in about so many blocks."""


@dataclass(frozen=True)
class Split:
    """How examples are divided.

    Args:
        share: fraction of the test set.
        limit: largest number of examples in each part.
        by: of windows of series: ``series``, whole series are test data, or ``time``, the end of each series; None for
            ``time`` if there is one series.
    """

    share: float | None = None
    limit: int | None = None
    by: str | None = None

    @classmethod
    def of(cls, text: float | str | None, limit: int | None = None) -> Split:
        """The plan that the option ``split`` describes; other texts, as names of columns, are left to readers.

        Example:
            >>> Split.of("time:0.3")
            Split(share=0.3, limit=None, by='time')
        """
        if not isinstance(text, str):
            return cls(text, limit)
        by, _, share = text.partition(":")
        if by not in BY:
            return cls(None, limit)
        try:
            return cls(float(share) if share else None, limit, by)
        except ValueError:
            raise refuse("split", text, f"{by}, or with the fraction of the test set {by}:0.2") from None


class Divisible(Protocol):
    """The output of a reader, in as much as it is divided."""

    part: np.ndarray | None
    split: float

    @property
    def in_order(self) -> bool:
        """Whether parts are consecutive rows: rows are correlated, or stay in a file."""

    @property
    def groups(self) -> np.ndarray | None:
        """The group of each example, (N,), if all examples of a group are in the same part."""

    @property
    def spans(self) -> np.ndarray | None:
        """Of windows, the steps of their series that they cover, (N, 2)."""

    def __len__(self) -> int: ...


T = TypeVar("T", bound="_Rows")


class _Rows(Divisible, Protocol):
    @property
    def test(self: T) -> T | None: ...

    def rows(self: T, rows: np.ndarray | slice) -> T: ...


def train_and_test(raw: T, name: str, split: Split) -> tuple[T, T]:
    """The training and the test set, with at most `split.limit` examples each.

    Args:
        raw: the output of a reader.
        name: name of the data, for messages.
        split: how examples are divided.

    Raises:
        RequestError: an empty part.
    """
    parts = divide(raw, split)
    train, test = (limited(part, split.limit) for part in parts)
    for part, called in ((train, "training"), (test, "test")):
        if not len(part):
            raise RequestError(
                f"The {called} part of `{name}` is empty. Give more data, or another ``split``."
            )
    return train, test


def divide(raw: T, split: Split) -> tuple[T, T]:
    """The training and the test set: official, by a column, at random (with a fixed seed), or the last rows.

    Rows of one group are never in both, nor a step of a series: windows that overlap the test windows are left out.

    Raises:
        RequestError: a share of the test set for data with an official one, or a single example.
    """
    if raw.test is not None or raw.part is not None:
        if split.share is not None:
            raise refuse("split", split.share, "left out: these data have their own test set")
        if raw.test is not None:
            return raw, raw.test
        assert raw.part is not None
        return raw.rows(np.flatnonzero(~raw.part)), raw.rows(np.flatnonzero(raw.part))
    n = len(raw)
    share = raw.split if split.share is None else fraction("split", split.share)
    tests = min(max(1, round(n * share)), n - 1)
    if n < 2:
        raise RequestError(f"There is {n} example, too few for a training and a test set. Give at least 2.")
    if split.by == "time" and raw.spans is None:
        raise refuse(
            "split", "time", "left out: these data are not windows of series", "Cut them: ``window=64``."
        )
    if raw.spans is not None and raw.groups is not None:
        by = split.by or ("time" if len(np.unique(raw.groups)) == 1 else "series")
        if by == "time":
            held, kept = _ends(raw.groups, raw.spans, share)
            return raw.rows(np.flatnonzero(kept)), raw.rows(np.flatnonzero(held))
    if raw.in_order:
        return raw.rows(slice(0, n - tests)), raw.rows(slice(n - tests, n))
    if raw.groups is not None:
        held = np.isin(raw.groups, _held_out(raw.groups, tests))
        return raw.rows(np.flatnonzero(~held)), raw.rows(np.flatnonzero(held))
    shuffled = np.random.default_rng(n).permutation(n)
    return raw.rows(np.sort(shuffled[tests:])), raw.rows(np.sort(shuffled[:tests]))


def _ends(groups: np.ndarray, spans: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    """The last windows of each series, and the earlier ones that share no step with them, as masks (N,)."""
    held, kept = np.zeros(len(groups), bool), np.zeros(len(groups), bool)
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        rows = rows[np.argsort(spans[rows, 0], kind="stable")]
        count = min(max(1, round(len(rows) * share)), len(rows) - 1)
        first = spans[rows[-count], 0] if count else np.inf
        held[rows[len(rows) - count :]] = True
        kept[rows[: len(rows) - count][spans[rows[: len(rows) - count], 1] <= first]] = True
    return held, kept


def apart(
    groups: np.ndarray, spans: np.ndarray, count: int, seed: int | tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray] | None:
    """Some windows of series in blocks, drawn with a seed, and the windows that share no step with them.

    Windows at the ends of a block, which are in neither part, are fewest if blocks are long.

    Args:
        groups: the series of each window, (N,).
        spans: the steps that it covers, from the first to the end, (N, 2).
        count: the number of windows to hold out.
        seed: seed of the draw.

    Returns:
        The indices of the others and of those held out, ascending; None if no windows overlap.

    Example:
        >>> first = np.arange(12)
        >>> [part.tolist() for part in apart(0 * first, np.stack([first, first + 3], 1), 3, 0)]
        [[0, 1, 2, 3, 11], [6, 7, 8]]
    """
    places = np.unique(groups, return_inverse=True)[1] * (int(spans.max()) + 1)
    first, end = places + spans[:, 0], places + spans[:, 1]
    order = np.argsort(first, kind="stable")
    reach = np.searchsorted(first[order], end[order], "left") - np.arange(len(order))
    if reach.max() <= 1:
        return None
    size = max(int(reach.max()), -(-count // _BLOCKS))
    blocks = np.array_split(order, max(1, len(order) // size))
    drawn = np.random.default_rng(seed).permutation(len(blocks))
    held = np.concatenate([blocks[block] for block in drawn])[:count]
    begun = np.searchsorted(
        np.sort(first[held]), end, "left"
    )  # held windows that begin before a window's end
    over = np.searchsorted(np.sort(end[held]), first, "right")  # and those that end before it begins
    return np.flatnonzero(begun == over), np.sort(held)


def _held_out(groups: np.ndarray, tests: int) -> np.ndarray:
    """Random groups (fixed seed) with at most `tests` examples in total; the smallest if all are larger."""
    names, sizes = np.unique(groups, return_counts=True)
    chosen, total = [], 0
    for group in np.random.default_rng(len(groups)).permutation(len(names)):
        if total + sizes[group] <= tests:
            chosen.append(group)
            total += int(sizes[group])
    return names[chosen or [int(sizes.argmin())]]


def limited(raw: T, limit: int | None) -> T:
    """At most `limit` examples: the first of an ordered set, else a random subset (with a fixed seed)."""
    n = len(raw)
    if limit is None or whole("limit", limit) >= n:
        return raw
    if raw.in_order:
        return raw.rows(slice(0, limit))
    return raw.rows(np.sort(np.random.default_rng(n).permutation(n)[:limit]))
