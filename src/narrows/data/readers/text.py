"""Texts: one an example, from lines, JSON lines and columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from narrows.activations.texts import read
from narrows.core.check import RequestError, choice, refuse, whole
from narrows.core.vocabulary import UNITS, numbered, split_text

__all__ = ["LONGEST", "Texts", "read_texts", "tokenised"]

LONGEST = 1000
"""Symbols of a text, above which a reader wants to be told what to do."""


@dataclass(frozen=True, eq=False)
class Texts:
    """Texts, and their classes where they have some.

    Args:
        texts: one an example.
        labels: class of each, (N,), or None.
        class_names: names of the classes, where labels are their numbers.
    """

    texts: Sequence[str]
    labels: np.ndarray | None = None
    class_names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.texts)

    def rows(self, rows: np.ndarray) -> Texts:
        """Some of the texts."""
        labels = None if self.labels is None else self.labels[rows]
        return Texts([self.texts[i] for i in rows], labels, self.class_names)

    def fitting(self, unit: str, longest: int | None, name: str) -> Texts:
        """Those of at most so many symbols.

        Raises:
            RequestError: no number was given and one is very long, or none is left.
        """
        choice("tokens", unit, UNITS)
        lengths = np.array([len(split_text(text, unit)) for text in self.texts])
        if longest is None and len(lengths) and lengths.max() > LONGEST:
            raise RequestError(
                f"`{name}` has texts of up to {lengths.max()} {unit}. Leave out those above some length, such as "
                "``longest=200``; or put each sentence on a line of its own."
            )
        kept = np.flatnonzero(lengths <= (LONGEST if longest is None else whole("longest", longest)))
        if not len(kept):
            raise refuse("longest", longest, f"at least {lengths.min()}, the {unit} of the shortest text")
        return self if len(kept) == len(self) else self.rows(kept)


def read_texts(path: Path, key: str = "text", labels: str | None = None) -> Texts:
    """Read a text file, one example a line, or JSON lines or a table, one example a row; empty ones are left out.

    Args:
        path: a .txt, .jsonl, .parquet or .arrow file, packed as .gz or not.
        key: the key of JSON lines, or the column, that holds the text.
        labels: the key that holds the class.

    Raises:
        RequestError: a file that cannot be read, or without text.
    """
    found: list[str] = []
    whole_line = True
    for value, more in read([path], key, split="line"):
        if not isinstance(value, str):
            raise refuse("key", key, f"a key of {path.name} whose values are text, not {type(value).__name__}")
        if whole_line:
            found.append(value)
        else:
            found[-1] += value
        whole_line = not more
    texts = [text.strip() for text in found]
    classes = None
    if labels is not None and labels != "none":
        classes = np.array([str(value) for value, _ in read([path], labels, split="line")])
        if len(classes) != len(texts):
            raise refuse("labels", labels, f"a key with a class for each of the {len(texts)} texts of {path.name}")
    kept = np.array([i for i, text in enumerate(texts) if text], np.int64)
    if not len(kept):
        raise RequestError(f"{path} has no line with text in it.")
    return Texts(texts, classes).rows(kept)


def tokenised(texts: Sequence[str], vocabulary: Sequence[str], unit: str) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of all symbols, one text after the other, and where each ends, its end symbol included.

    Example:
        >>> from narrows.core.vocabulary import SPECIAL
        >>> tokenised(["ab", "b"], (*SPECIAL, "a", "b"), "characters")
        (array([4, 5, 2, 5, 2]), array([3, 5]))
    """
    known = {symbol: i for i, symbol in enumerate(vocabulary)}
    rows = [numbered(text, known, unit) for text in texts]
    return np.concatenate([np.array(row, np.int64) for row in rows]), np.cumsum([len(row) for row in rows])
