"""Errors for bad input: a sentence with the argument, its value, what was expected and how to correct it.

A message marks an argument, alone or with a value, by double backticks: ``labels`` or ``labels='kind'``. The reader of
the message sees it as they would type it: `labels='kind'` in Python, `--labels kind` on the command line.
"""

from __future__ import annotations

import difflib
import importlib
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from numbers import Integral, Real
from types import ModuleType
from typing import Any, TypeGuard, TypeVar

__all__ = [
    "NarrowsError",
    "RequestError",
    "UnknownNameError",
    "UnknownOptionError",
    "WorkError",
    "at_least",
    "builtin",
    "choice",
    "closest",
    "fraction",
    "missing_extra",
    "nearest",
    "number",
    "optional",
    "positive",
    "printable",
    "refuse",
    "spelled",
    "whole",
]

T = TypeVar("T")


Spelling = Callable[[str, str | None], str]
"""Maps an argument's name and its value as Python source (or None) to what the user types."""

_MARKED = re.compile(r"``([A-Za-z_]\w*)(?:=(.+?))?``")


def _python(name: str, value: str | None) -> str:
    return f"`{name}`" if value is None else f"`{name}={value}`"


_spelling: Spelling = _python


@contextmanager
def spelled(by: Spelling) -> Iterator[None]:
    """Within the context, messages show arguments in another style than Python's, such as command-line flags.

    Args:
        by: maps an argument's name and its value as Python source (or None) to what the user types.

    Example:
        >>> with spelled(lambda name, value: f"--{name} {value}"):
        ...     str(RequestError("Say ``labels='kind'``."))
        "Say --labels 'kind'."
    """
    global _spelling
    before, _spelling = _spelling, by
    try:
        yield
    finally:
        _spelling = before


def printable(text: str) -> str:
    r"""Text that is safe to print on a terminal: control characters and lone surrogates are escaped.

    Example:
        >>> printable(chr(27) + "[2J wine")
        '\\x1b[2J wine'
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)


class NarrowsError(Exception):
    """The base class of all errors that `narrows` raises on purpose; the message is for the user."""

    exit_code = 1

    def __str__(self) -> str:
        return printable(_MARKED.sub(lambda found: _spelling(found[1], found[2]), Exception.__str__(self)))


class RequestError(NarrowsError, ValueError):
    """An invalid request: a bad argument, file or combination of arguments (exit code 2)."""

    exit_code = 2


class UnknownNameError(RequestError, KeyError):
    """A method, data set, file or proof that does not exist; the message lists the nearest names."""


class UnknownOptionError(RequestError, TypeError):
    """An option that a method or data source does not have."""


class WorkError(NarrowsError, RuntimeError):
    """A valid request that failed: a non-finite loss, a full disk (exit code 1)."""


def refuse(argument: str, value: Any, expected: str, fix: str = "") -> RequestError:
    """Build the error for a bad argument: ``raise refuse("k", 0, "a whole number of at least 1")``.

    Args:
        argument: the argument's name in Python; any other text (``--out``) is shown unchanged.
        value: the value that was passed.
        expected: a description of valid values.
        fix: a sentence that says how to correct it; may be empty.

    Example:
        >>> str(refuse("k", 0, "a whole number of at least 1", "Try k=32."))
        '`k` must be a whole number of at least 1, but got 0. Try k=32.'
    """
    shown = repr(value)
    if len(shown) > 120:
        shown = shown[:117] + "..."
    marked = f"``{argument}``" if argument.isidentifier() else f"`{argument}`"
    return RequestError(f"{marked} must be {expected}, but got {shown}.{' ' + fix if fix else ''}")


def builtin(value: Any) -> Any:
    """Convert NumPy scalars to Python numbers; other values are unchanged.

    Example:
        >>> builtin((np.int64(3), np.float32(0.5), "auto"))
        (3, 0.5, 'auto')
    """
    if isinstance(value, (tuple, list)):
        return type(value)([builtin(one) for one in value])
    return value.item() if getattr(value, "ndim", None) == 0 else value


def nearest(name: str, names: Iterable[str], mark: str = "`") -> str:
    """Suggest the known names that are closest to an unknown one, or list a few.

    Args:
        name: the unknown name.
        names: the known names.
        mark: the quotation mark around each name; two backticks for arguments.

    Example:
        >>> nearest("vea", ["vae", "fsq"])
        'Did you mean `vae`?'
    """
    known = sorted(names)
    if close := closest(name, known):
        return "Did you mean " + " or ".join(f"{mark}{c}{mark}" for c in close) + "?"
    few = ", ".join(f"{mark}{k}{mark}" for k in known[:12])
    return f"Known: {few}{', ...' if len(known) > 12 else ''}."


def closest(name: str, names: Iterable[str], count: int = 3, alike: float = 0.5) -> list[str]:
    """Up to `count` known names that resemble an unknown one, those with the fewest typing errors first.

    Names resemble each other if the share `alike` of their letters match, capital or not. A letter that is missing,
    too many or another one is an error, as are two that changed places. Among names with as many errors, those with
    the same letters are first, then those with near numbers.

    Example:
        >>> closest("vea", ["vaeac", "vq-vae", "vae"])
        ['vae', 'vaeac']
        >>> closest("resid.7", ["resid.0", "resid.1", "resid.2"], count=2)
        ['resid.2', 'resid.1']
    """
    typed = name.lower()

    def order(known: str) -> tuple[int, bool, float, int, str]:
        other = known.lower()
        away = sum(abs(ord(a) - ord(b)) for a, b in zip(typed, other))
        return _errors(typed, other), set(typed) != set(other), -ratios[known], away, known

    ratios = {known: difflib.SequenceMatcher(None, known.lower(), typed).ratio() for known in names}
    return sorted((known for known, ratio in ratios.items() if ratio >= alike), key=order)[:count]


def _errors(a: str, b: str) -> int:
    """The fewest errors between two words (optimal string alignment)."""
    rows = [list(range(len(b) + 1))]
    for i, letter in enumerate(a, 1):
        row = [i]
        for j, other in enumerate(b, 1):
            fewest = min(rows[-1][j] + 1, row[-1] + 1, rows[-1][j - 1] + (letter != other))
            if i > 1 and j > 1 and a[i - 2 : i] == b[j - 1] + b[j - 2]:
                fewest = min(fewest, rows[-2][j - 2] + 1)
            row.append(fewest)
        rows.append(row)
    return rows[-1][-1]


def number(argument: str, value: Any, *, low: float = -math.inf, high: float = math.inf) -> float:
    """Return `value` as a finite float inside [low, high], or refuse it."""
    if not _real(value) or not math.isfinite(value) or not low <= value <= high:
        raise refuse(argument, value, f"a finite number{_range(low, high)}")
    return float(value)


def positive(argument: str, value: Any, fix: str = "") -> float:
    """Return `value` as a finite float above 0, or refuse it.

    Example:
        >>> positive("temperature", 0.5)
        0.5
    """
    if not _real(value) or not 0 < value < math.inf:
        raise refuse(argument, value, "a finite number above 0", fix)
    return float(value)


def whole(argument: str, value: Any, *, low: int = 1, high: int | None = None, fix: str = "") -> int:
    """Return `value` as an int inside [low, high], or refuse it."""
    is_whole = isinstance(value, Integral) or (_real(value) and float(value).is_integer())
    if isinstance(value, bool) or not is_whole or value < low or (high is not None and value > high):
        top = math.inf if high is None else high
        raise refuse(argument, value, f"a whole number{_range(low, top)}", fix)
    return int(value)


def at_least(argument: str, value: float, low: float, fix: str = "") -> float:
    """Return `value` if it is a number of at least `low`, or refuse it with a hint."""
    if not _real(value) or not value >= low:
        raise refuse(argument, value, f"at least {low:g}", fix)
    return value


def fraction(argument: str, value: Any) -> float:
    """Return `value` as a float strictly between 0 and 1, or refuse it."""
    if not _real(value) or not 0 < value < 1:
        raise refuse(argument, value, "a fraction between 0 and 1, both excluded")
    return float(value)


def choice(argument: str, value: T, options: Sequence[T]) -> T:
    """Return `value` if it is one of `options`, or refuse it and name the nearest."""
    if value not in options:
        raise refuse(
            argument,
            value,
            "one of " + ", ".join(f"`{o}`" for o in options),
            nearest(str(value), [str(o) for o in options]) if len(options) > 3 else "",
        )
    return value


def missing_extra(package: str, extra: str, why: str = "") -> WorkError:
    """Build the error for an optional dependency that is not installed."""
    purpose = f" to {why}" if why else ""
    return WorkError(f"`{package}` is needed{purpose}. Install it with: pip install 'narrows[{extra}]'")


def optional(module: str, extra: str, why: str = "") -> ModuleType:
    """Import an optional dependency, or raise an error that names the extra which brings it.

    Raises:
        WorkError: the package is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise missing_extra(module.split(".")[0], extra, why) from error


def _real(value: Any) -> TypeGuard[float]:
    """Whether a value is a real number of Python or NumPy, and not a bool."""
    return isinstance(value, Real) and not isinstance(value, bool)


def _range(low: float, high: float) -> str:
    if low > -math.inf and high < math.inf:
        return f" from {low:g} to {high:g}"
    if low > -math.inf:
        return f" of at least {low:g}"
    return f" of at most {high:g}" if high < math.inf else ""
