"""How the arguments in a message are typed on the command line: `--labels kind`, not `labels='kind'`."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from narrows.core.check import Spelling

__all__ = ["spelling"]

_POSITIONAL = {"what": "data", "path": "run"}
"""What Python calls some of the arguments that have only a place on the command line."""


def spelling(parameters: Iterable[Any], words: Sequence[str]) -> Spelling:
    """From an argument to what is typed for it.

    Args:
        parameters: those of the command that runs, as its parser has them.
        words: what was typed: an argument of a data set or of a sweep has no option of its own.

    Example:
        >>> spell = spelling([], ["--over", "k=0,8"])
        >>> spell("k", None), spell("seed", None)
        ('`--over k`', '`seed`')
    """
    flags, places = {}, {}
    for parameter in parameters:
        if parameter.param_type_name == "argument":
            places[parameter.name] = re.sub(
                r"[\[\]]|\.\.\.$", "", parameter.metavar or parameter.name.upper()
            )
        else:
            for flag in (*parameter.opts, *parameter.secondary_opts):
                flags[flag.lstrip("-").replace("-", "_")] = flag
            flags.setdefault(parameter.name, parameter.opts[0])  # `--from`: Python has no such name

    def spell(name: str, value: str | None) -> str:
        inside = next((f for f, w in pairwise(words) if w.startswith(f"{name}=")), "")
        if inside in ("--over", "--data-option"):
            return f"`{inside} {name}`" if value is None else f"`{inside} {name}={_typed(value)}`"
        if name not in flags:
            place = places.get(_POSITIONAL.get(name, name))
            return f"`{place or name}`" if value is None else f"`{place or name + '=' + _typed(value)}`"
        if value in ("True", "False"):
            wanted = name if value == "True" else f"no_{name}"
            return f"`{flags.get(wanted, flags[name])}`"
        return f"`{flags[name]}`" if value is None else f"`{flags[name]} {_typed(value)}`"

    return spell


def _typed(value: str) -> str:
    """A value as Python source, as it is typed in a shell.

    Example:
        >>> _typed("'my column'"), _typed("(256, 128)"), _typed("{'k': [8, 16]}")
        ("'my column'", '256,128', 'k=8,16')
    """
    try:
        found = ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return value
    if found is Ellipsis:
        return value
    if isinstance(found, dict):
        return " ".join(f"{name}={_typed(repr(one))}" for name, one in found.items())
    if isinstance(found, (tuple, list)):
        return shlex.quote(",".join(str(one) for one in found))
    return "none" if found is None else shlex.quote(str(found))
