"""Named sets of texts."""

from __future__ import annotations

from narrows.data.named.reading import verified
from narrows.data.named.registry import Set
from narrows.data.raw import RawTexts
from narrows.data.readers.text import read_texts

__all__ = ["lines"]

_CLASSES = {
    "names": ("female", "male"),
    "pros-cons": ("con", "pro"),
    "sentence-polarity": ("negative", "positive"),
    "subjectivity": ("objective", "subjective"),
}


def lines(row: Set, tokens: str = "characters", least: int = 1, longest: int | None = None) -> RawTexts:
    """Short texts with a class each.

    Args:
        row: which set.
        tokens: what a symbol is, ``characters`` or ``words``.
        least: how often a symbol must stand in the training part; rarer ones are unknown.
        longest: leave out texts of more symbols.
    """
    found = read_texts(verified(row), "name" if row.name == "names" else "text", "label", _CLASSES[row.name])
    return found.fitting(tokens, longest, row.name).raw(tokens, least)
