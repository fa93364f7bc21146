"""Named sets of texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from narrows.data.dataset import Dataset, Source
from narrows.data.named.reading import verified
from narrows.data.named.registry import Set
from narrows.data.readers.text import opened, read_texts

__all__ = ["lines"]

_CLASSES = {
    "names": ("female", "male"),
    "pros-cons": ("con", "pro"),
    "sentence-polarity": ("negative", "positive"),
    "subjectivity": ("objective", "subjective"),
}


def lines(
    row: Set,
    tokens: str = "characters",
    least: int = 1,
    longest: int | None = None,
    like: Mapping[str, Any] | None = None,
    split: float | None = None,
    limit: int | None = None,
) -> Source | Dataset:
    """Short texts with a class each.

    Args:
        row: which set.
        tokens: what a symbol is, ``characters`` or ``words``.
        least: how often a symbol must stand in the training part; rarer ones are unknown.
        longest: leave out texts of more symbols.
        like: the description of texts that these are to be read like.
        split: the share of the test part.
        limit: at most so many texts in each part.
    """
    found = read_texts(verified(row), "name" if row.name == "names" else "text", "label", _CLASSES[row.name])
    told: dict[str, Any] = {"tokens": tokens, "least": least, "longest": longest}
    return opened(found, row.name, like, **told, split=split, limit=limit)
