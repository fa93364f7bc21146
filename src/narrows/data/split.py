"""The division of examples into a training and a test set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np

from narrows.core.check import RequestError, fraction, refuse, whole

__all__ = ["Divisible", "Split", "divide", "limited", "train_and_test"]


@dataclass(frozen=True)
class Split:
    """How examples are divided: the fraction of the test set, and a limit for both parts."""

    share: float | None = None
    limit: int | None = None


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

    Segments of one series, or other rows of one group, are never in both.

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
    if raw.in_order:
        return raw.rows(slice(0, n - tests)), raw.rows(slice(n - tests, n))
    if raw.groups is not None:
        held = np.isin(raw.groups, _held_out(raw.groups, tests))
        return raw.rows(np.flatnonzero(~held)), raw.rows(np.flatnonzero(held))
    shuffled = np.random.default_rng(n).permutation(n)
    return raw.rows(np.sort(shuffled[tests:])), raw.rows(np.sort(shuffled[:tests]))


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
