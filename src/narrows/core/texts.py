"""Typed values as text: parsing by type annotation, and how help texts show types and defaults."""

from __future__ import annotations

import re
import types
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any, Literal, Union, get_args, get_origin

from narrows.core.check import RequestError, choice, refuse
from narrows.core.schedules import schedule

__all__ = [
    "Read",
    "docstring_args",
    "names_of",
    "number_or_schedule",
    "readable",
    "reader",
    "shown",
    "text_table",
    "yes",
]

Read = Callable[[str, str], Any]
"""Parses an option's text: ``(option, text) -> value``; raises RequestError if the text is invalid."""


def readable(hint: Any) -> bool:
    """Whether a value of a type can be written in a text."""
    try:
        reader(hint)
    except TypeError:
        return False
    return True


def reader(hint: Any, separator: str = ",") -> tuple[str, Read | None]:
    """The metavar and the parser of a type; no parser for a bool, which is a flag.

    Args:
        hint: a type annotation. Of a union, only members that can be parsed are used.
        separator: separator of a tuple's values.

    Raises:
        TypeError: values of this type cannot be written as text.

    Example:
        >>> metavar, read = reader(tuple[int, ...])
        >>> metavar, read("--levels", "8,5")
        ('INT,INT,...', (8, 5))
    """
    origin, members = get_origin(hint), get_args(hint)
    if hint is bool:
        return "", None
    if isinstance(hint, type) and hint in _PLAIN:
        return _PLAIN[hint]
    if origin is Literal:
        names = [str(m) for m in members]
        return "|".join(names), lambda flag, text: members[names.index(choice(flag, text, names))]
    if origin is tuple:
        return _tuple(members, separator)
    if origin in (Union, types.UnionType):
        return _union(members, separator)
    raise TypeError(f"an option of type {hint} cannot be written as text")


def _tuple(members: tuple[Any, ...], separator: str) -> tuple[str, Read]:
    metavar, one = reader(members[0], separator)
    if members[1:] == (Ellipsis,):
        return f"{metavar}{separator}{metavar}{separator}...", lambda f, t: _several(f, t, one, separator)
    count = len(members)

    def read(flag: str, text: str) -> Any:
        found = _several(flag, text, one, separator)
        if len(found) != count:
            raise refuse(flag, text, f"{count} values with `{separator}` between")
        return found

    return separator.join([metavar] * count), read


def _union(members: tuple[Any, ...], separator: str) -> tuple[str, Read]:
    if any(getattr(get_origin(m), "__name__", "") == "Callable" for m in members):
        return "NUMBER|SCHEDULE", number_or_schedule
    kinds = [reader(m, separator) for m in members if m is not type(None) and readable(m)]
    if not kinds:
        raise TypeError(f"an option of type {members} cannot be written as text")
    metavar = "|".join(dict.fromkeys(m for m, _ in kinds))

    def read(flag: str, text: str) -> Any:
        if text.lower() == "none" and type(None) in members:
            return None
        failure: RequestError | None = None
        for _, one in kinds:
            try:
                return one(flag, text) if one else yes(flag, text)
            except RequestError as error:
                failure = error
        raise failure or refuse(flag, text, metavar)

    return metavar, read


def _whole(flag: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise refuse(flag, text, "a whole number") from None


def _number(flag: str, text: str) -> float:
    try:
        return float(Fraction(text)) if "/" in text else float(text)
    except (ValueError, ZeroDivisionError):
        raise refuse(flag, text, "a number") from None


def _text(flag: str, text: str) -> str:
    return text


def yes(flag: str, text: str) -> bool:
    """Parse ``yes``, ``no``, ``true`` or ``false``.

    Raises:
        RequestError: the text is none of these.
    """
    return choice(flag, text.lower(), ("yes", "no", "true", "false")) in ("yes", "true")


def number_or_schedule(flag: str, text: str) -> float | str:
    """Parse a number, or check the text of a schedule and return it.

    Example:
        >>> number_or_schedule("--beta", "1/4"), number_or_schedule("--beta", "linear:0:1:100")
        (0.25, 'linear:0:1:100')
    """
    if re.fullmatch(r"[-+]?\d+/\d+", text.strip()):
        return _number(flag, text)
    made = schedule(text, flag)
    return text if callable(made) else made


def _several(flag: str, text: str, one: Read | None, separator: str) -> tuple[Any, ...]:
    pieces = [piece.strip() for piece in text.strip("()[] ").split(separator) if piece.strip()]
    if text.strip().lower() in ("none", ""):
        pieces = []
    try:
        return tuple(one(flag, piece) if one else yes(flag, piece) for piece in pieces)
    except RequestError:
        raise refuse(flag, text, f"values with `{separator}` between, such as 256{separator}128") from None


_PLAIN: dict[Any, tuple[str, Read]] = {
    int: ("INT", _whole),
    float: ("NUMBER", _number),
    str: ("TEXT", _text),
}


def shown(value: Any) -> str:
    """A default value as the user would type it.

    Example:
        >>> shown((256, 128)), shown(True), shown(None)
        ('256,128', 'yes', 'none')
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ",".join(str(v) for v in value) or "none"
    return "none" if value is None else str(value)


def docstring_args(text: str) -> dict[str, str]:
    """The descriptions of the arguments in a Google-style docstring.

    Example:
        >>> docstring_args(chr(10).join(["Do.", "", "Args:", "    k: how many", "        are on.", "", "Raises:"]))
        {'k': 'how many are on.'}
    """
    found: dict[str, str] = {}
    inside, name = False, ""
    for line in text.splitlines():
        if not line.startswith(" ") and line.strip():
            inside = line.strip() == "Args:"
        elif inside and line.strip():
            depth = len(line) - len(line.lstrip())
            if depth == 4:
                name, _, says = line.strip().partition(":")
                found[name] = says.strip()
            elif name:
                found[name] += " " + line.strip()
    return {name: says.replace("`", "") for name, says in found.items()}


def names_of(names: str | Sequence[str] | None) -> list[str]:
    """Names in a list, or in one text with commas between."""
    if names is None:
        return []
    return [n.strip() for n in names.split(",")] if isinstance(names, str) else list(names)


def text_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows with named cells as an aligned table; floats to four digits.

    Example:
        >>> print(text_table([{"run": "k=2", "loss": 1.5}, {"run": "k=16", "loss": 0.25}]))
        run   loss
        k=2   1.5
        k=16  0.25
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [names] + [[_cell(row.get(name, "")) for name in names] for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(names))]
    return "\n".join(
        "  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in cells
    )


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
