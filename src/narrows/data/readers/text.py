"""Texts, one per example, from lines, JSON lines and columns."""

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
"""Number of tokens of a text above which `longest` is required."""


@dataclass(frozen=True, eq=False)
class Texts:
    """Texts, and their classes, if any.

    Args:
        texts: one per example.
        labels: class of each, (N,), or None.
        class_names: names of the classes, if labels are class indices.
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
        """The texts of at most `longest` tokens.

        Raises:
            RequestError: `longest` is None and a text is very long, or no text is left.
        """
        choice("tokens", unit, UNITS)
        lengths = np.array([len(split_text(text, unit)) for text in self.texts])
        if longest is None and len(lengths) and lengths.max() > LONGEST:
            raise RequestError(
                f"`{name}` has texts of up to {lengths.max()} {unit}. Leave out longer ones, such as with "
                "``longest=200``; or write each sentence on a separate line."
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
    """Read a text file or JSON lines, one example per line; see `read_texts`.

    Args:
        path: a .txt or .jsonl file, optionally with .gz.
        key: the key of the text in JSON lines.
        labels: the key of the class.
        tokens: the type of tokens, ``characters`` or ``words``.
        least: minimum count of a token in the training set; rarer ones are unknown.
        longest: leave out texts of more tokens.
    """
    return read_texts(path, key, labels).fitting(tokens, longest, path.name).raw(tokens, least)


def read_texts(
    path: Path, key: str = "text", labels: str | None = None, class_names: tuple[str, ...] = ()
) -> Texts:
    """Read a text file or JSON lines, one example per line, or a table, one per row; empty ones are left out.

    Args:
        path: a .txt, .jsonl, .parquet or .arrow file, optionally with .gz.
        key: the key of the text in JSON lines, or its column.
        labels: the key of the class.
        class_names: names of the classes, if that key has class indices.

    Raises:
        RequestError: the file cannot be read, or has no text.
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
        raise RequestError(f"{path} has no line with text.")
    return Texts(texts, classes, class_names).rows(kept)
