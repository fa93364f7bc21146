"""Vocabularies: special symbols, tokenisation by characters or words, and decoding."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from narrows.core.check import choice, whole

__all__ = [
    "END",
    "PAD",
    "SPECIAL",
    "START",
    "UNITS",
    "UNKNOWN",
    "indices_to_text",
    "split_text",
    "symbols_of",
    "text_to_indices",
]

SPECIAL = ("<pad>", "<start>", "<end>", "<unknown>")
"""The first symbols of every vocabulary: padding, start of text, end of text, and unknown symbols."""

PAD, START, END, UNKNOWN = range(4)
"""The indices of the special symbols."""

UNITS = ("characters", "words")
"""The tokenisation units. Words are separated by white space."""


def split_text(text: str, unit: str = "characters") -> list[str]:
    """The characters or the words of a text.

    Example:
        >>> split_text("so it goes", "words")
        ['so', 'it', 'goes']
    """
    return list(text) if choice("tokens", unit, UNITS) == "characters" else text.split()


def symbols_of(texts: Iterable[str], unit: str = "characters", least: int = 1) -> tuple[str, ...]:
    """A vocabulary: the special symbols, then every symbol with at least `least` occurrences, sorted.

    Example:
        >>> symbols_of(["abba", "ac"], least=2)
        ('<pad>', '<start>', '<end>', '<unknown>', 'a', 'b')
    """
    counts = Counter(symbol for text in texts for symbol in split_text(text, unit))
    often = sorted(symbol for symbol, count in counts.items() if count >= whole("least", least))
    return (*SPECIAL, *(symbol for symbol in often if symbol not in SPECIAL))


def text_to_indices(
    text: str, vocabulary: Sequence[str] | dict[str, int], unit: str = "characters"
) -> list[int]:
    """The symbol indices of a text, with `END` appended; `UNKNOWN` for symbols outside the vocabulary.

    A word that is spelled like a special symbol is no such symbol, but unknown.

    Example:
        >>> text_to_indices("ax", (*SPECIAL, "a"))
        [4, 3, 2]
    """
    known = vocabulary if isinstance(vocabulary, dict) else {s: i for i, s in enumerate(vocabulary)}
    symbols = split_text(text, unit)
    return [*(UNKNOWN if s in SPECIAL else known.get(s, UNKNOWN) for s in symbols), END]


def indices_to_text(numbers: Iterable[int], vocabulary: Sequence[str], unit: str = "characters") -> str:
    """The text of symbol indices up to `END`; unknown symbols become the replacement character.

    Example:
        >>> indices_to_text([4, 5, 2, 0], (*SPECIAL, "o", "k"))
        'ok'
    """
    symbols = []
    for number in numbers:
        if number in (END, PAD):
            break
        symbols.append("\N{REPLACEMENT CHARACTER}" if number == UNKNOWN else vocabulary[number])
    return ("" if choice("tokens", unit, UNITS) == "characters" else " ").join(symbols)
