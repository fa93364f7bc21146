"""Named labelled sets, and the file of a user in their place."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from narrows.core.check import RequestError, WorkError, nearest
from narrows.data.labelled import Labelled, of_classes
from narrows.data.named.fetch import located
from narrows.data.named.reading import verified
from narrows.data.named.registry import expand
from narrows.data.readers.labelled import read_labelled

__all__ = ["LABELLED", "absent", "open_labelled"]

_TAGS = {
    "noun": ("NN", "NNS", "NNP", "NNPS"),
    "verb": ("VB", "VBD", "VBG", "VBN", "VBP", "VBZ", "MD"),
    "adjective": ("JJ", "JJR", "JJS"),
    "adverb": ("RB", "RBR", "RBS", "WRB"),
    "pronoun": ("PRP", "PRP$", "WP", "WP$"),
    "preposition": ("IN", "TO"),
    "determiner": ("DT", "WDT", "PDT"),
    "conjunction": ("CC",),
    "number": ("CD",),
}
_LONG = 7
"""Letters of a long word."""

_SPOKEN = ("debate-transcript", "face-to-face", "court-transcript", "telephone", "movie-script")
_SENTENCES = 3000
"""Sentences of MASC, drawn from all of it at equal distances."""

_LANGUAGES = {
    "deu": "German",
    "eng": "English",
    "fin": "Finnish",
    "fra": "French",
    "ita": "Italian",
    "nld": "Dutch",
    "pol": "Polish",
    "por_PT": "Portuguese",
    "spa": "Spanish",
    "swe": "Swedish",
}
_SHORTEST = 40
"""Characters of a paragraph of the declaration; shorter ones are headings."""


@lru_cache(maxsize=4)
def open_labelled(source: str) -> Labelled:
    """A labelled set by its name, or from a file of texts and labels.

    Args:
        source: a name in `LABELLED`, or the path of a .csv, .tsv or .jsonl file with the columns `text` and `label`.

    Raises:
        RequestError: no such name or file, or a file that is no labelled set.
        WorkError: the data of a name are not here.
    """
    if source in LABELLED:
        return LABELLED[source](source)
    path = Path(source).expanduser()
    if not path.is_file():
        raise RequestError(
            f"``labels={source!r}``: there is no such labelled set and no such file. {nearest(source, list(LABELLED))} "
            f"Named ones: {', '.join(LABELLED)}."
        )
    return read_labelled(path)


def absent(source: str) -> str:
    """Why a named set cannot be read here, a sentence; empty if it can, and for files."""
    row = _ROWS.get(source, source)
    if source not in LABELLED or located(expand(row)):
        return ""
    return (
        f"The labelled set `{source}` is not here. Set NARROWS_DATA to the folder that has its files, or give your "
        "own: labels=FILE.csv with the columns text and label."
    )


def _pairs(name: str) -> Labelled:
    """A set of texts of two classes."""
    names = _CLASSES[name]
    key = "name" if name == "names" else "text"
    rows = [row for row in _records(name) if row[key].strip()]
    classes = {str(i): concept for i, concept in enumerate(names)}
    return of_classes(name, [r[key] for r in rows], [str(r["label"]) for r in rows], names=classes)


def _masc(name: str) -> Labelled:
    """Words with their parts of speech, whether they are long, and whether their text was spoken."""
    rows = list(_records(name))
    rows = rows[:: max(1, len(rows) // _SENTENCES)]
    texts: dict[str, int] = {}
    words: list[tuple[int, int, int]] = []
    labels: list[list[int]] = []
    for row in rows:
        text, tags = row["tokens"], row["pos"].split()
        if text in texts:
            continue
        number = texts.setdefault(text, len(texts))
        spoken = -1 if row.get("genre") is None else int(row["genre"] in _SPOKEN)
        at = 0
        for word, tag in zip(text.split(), tags, strict=False):
            at = text.index(word, at)
            if any(c.isalnum() for c in word):
                words.append((number, at, at + len(word)))
                labels.append(
                    [*(int(tag in some) for some in _TAGS.values()), int(len(word) >= _LONG), spoken]
                )
            at += len(word)
    concepts = (*_TAGS, "long word", "spoken")
    return Labelled(name, concepts, np.array(labels, np.int8), tuple(texts), np.array(words, np.int64))


def _languages(name: str) -> Labelled:
    """Paragraphs of one declaration in ten languages of one alphabet."""
    texts, codes = [], []
    for row in _records(name):
        if row["code"] in _LANGUAGES:
            found = [line.strip() for line in row["text"].splitlines() if len(line.strip()) >= _SHORTEST]
            texts += found
            codes += [row["code"]] * len(found)
    return of_classes(name, texts, codes, names=_LANGUAGES)


def _records(name: str) -> Iterator[dict[str, Any]]:
    """The JSON lines of a set, whose checksum is verified."""
    path = verified(expand(_ROWS.get(name, name)))
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            if not isinstance(row, dict):
                raise WorkError(f"{path} is damaged. Get it again.")
            yield row


_CLASSES = {
    "movie-reviews": ("negative", "positive"),
    "subjectivity": ("objective", "subjective"),
    "pros-cons": ("con", "pro"),
    "names": ("female", "male"),
}
_ROWS = {"udhr2-languages": "udhr"}
"""The entry of the table of named sets, where its name differs."""

LABELLED: dict[str, Callable[[str], Labelled]] = {
    **dict.fromkeys(_CLASSES, _pairs),
    "masc-pos": _masc,
    "udhr2-languages": _languages,
}
"""Readers of the named labelled sets."""
