"""The symbols of a text that stand for no character or word, and from symbols to text and back."""

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
    "numbered",
    "split_text",
    "symbols_of",
    "written",
]

SPECIAL = ("<pad>", "<start>", "<end>", "<unknown>")
"""The first symbols of every vocabulary: padding, the start of a text, its end, and what the vocabulary lacks."""

PAD, START, END, UNKNOWN = range(4)
"""Their numbers."""

UNITS = ("characters", "words")
"""What a symbol is. Words are what white space separates."""


def split_text(text: str, unit: str = "characters") -> list[str]:
    """The characters or the words of a text.

    Example:
        >>> split_text("so it goes", "words")
        ['so', 'it', 'goes']
    """
    return list(text) if choice("tokens", unit, UNITS) == "characters" else text.split()


def symbols_of(texts: Iterable[str], unit: str = "characters", least: int = 1) -> tuple[str, ...]:
    """A vocabulary: the special symbols, then every symbol that stands at least so often in the texts, sorted.

    Example:
        >>> symbols_of(["abba", "ac"], least=2)
        ('<pad>', '<start>', '<end>', '<unknown>', 'a', 'b')
    """
    counts = Counter(symbol for text in texts for symbol in split_text(text, unit))
    often = sorted(symbol for symbol, count in counts.items() if count >= whole("least", least))
    return (*SPECIAL, *(symbol for symbol in often if symbol not in SPECIAL))


def numbered(text: str, vocabulary: Sequence[str] | dict[str, int], unit: str = "characters") -> list[int]:
    """The numbers of a text's symbols, its end included; `UNKNOWN` where the vocabulary lacks one.

    Example:
        >>> numbered("ax", (*SPECIAL, "a"))
        [4, 3, 2]
    """
    known = vocabulary if isinstance(vocabulary, dict) else {s: i for i, s in enumerate(vocabulary)}
    return [*(known.get(symbol, UNKNOWN) for symbol in split_text(text, unit)), END]


def written(numbers: Iterable[int], vocabulary: Sequence[str], unit: str = "characters") -> str:
    """The text of symbol numbers, up to its end; what the vocabulary lacks is written as the replacement character.

    Example:
        >>> written([4, 5, 2, 0], (*SPECIAL, "o", "k"))
        'ok'
    """
    symbols = []
    for number in numbers:
        if number in (END, PAD):
            break
        symbols.append("\N{REPLACEMENT CHARACTER}" if number == UNKNOWN else vocabulary[number])
    return ("" if choice("tokens", unit, UNITS) == "characters" else " ").join(symbols)
