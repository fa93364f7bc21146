"""Texts: one an example, from lines, JSON lines and columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from narrows.activations.texts import read
from narrows.core.check import RequestError, choice, refuse, whole
from narrows.core.vocabulary import UNITS, split_text
from narrows.data.raw import RawTexts
from narrows.data.sequences import listed

__all__ = ["LONGEST", "Texts", "read_text_file", "read_texts"]

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

    def raw(self, unit: str, least: int) -> RawTexts:
        """The texts as examples."""
        x = listed(self.texts)
        return RawTexts(x, self.labels, class_names=self.class_names, unit=unit, least=least)


def read_text_file(
    path: Path,
    key: str = "text",
    labels: str | None = None,
    tokens: str = "characters",
    least: int = 1,
    longest: int | None = None,
) -> RawTexts:
    """Read a text file, one example a line, or JSON lines, one example a line; see `read_texts`.

    Args:
        path: a .txt or .jsonl file, packed as .gz or not.
        key: the key of JSON lines that holds the text.
        labels: the key that holds the class.
        tokens: what a symbol is, ``characters`` or ``words``.
        least: how often a symbol must stand in the training part; rarer ones are unknown.
        longest: leave out texts of more symbols.
    """
    return read_texts(path, key, labels).fitting(tokens, longest, path.name).raw(tokens, least)


def read_texts(
    path: Path, key: str = "text", labels: str | None = None, class_names: tuple[str, ...] = ()
) -> Texts:
    """Read a text file, one example a line, or JSON lines or a table, one example a row; empty ones are left out.

    Args:
        path: a .txt, .jsonl, .parquet or .arrow file, packed as .gz or not.
        key: the key of JSON lines, or the column, that holds the text.
        labels: the key that holds the class.
        class_names: names of the classes, where that key holds their numbers.

    Raises:
        RequestError: a file that cannot be read, or without text.
    """
    found: list[str] = []
    whole_line = True
    for value, more in read([path], key, split="line"):
        if not isinstance(value, str):
            raise refuse(
                "key", key, f"a key of {path.name} whose values are text, not {type(value).__name__}"
            )
        if whole_line:
            found.append(value)
        else:
            found[-1] += value
        whole_line = not more
    texts = [text.strip() for text in found]
    classes = None
    if labels is not None and labels != "none":
        values = [value for value, _ in read([path], labels, split="line")]
        classes = np.array(values if class_names else [str(value) for value in values])
        if len(classes) != len(texts):
            raise refuse(
                "labels", labels, f"a key with a class for each of the {len(texts)} texts of {path.name}"
            )
    kept = np.array([i for i, text in enumerate(texts) if text], np.int64)
    if not len(kept):
        raise RequestError(f"{path} has no line with text in it.")
    return Texts(texts, classes, class_names).rows(kept)
